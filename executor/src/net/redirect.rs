//! Redirects, followed and remembered.
//!
//! A release host redirects each request to a URL of another host that is valid for some minutes. The
//! first request for a file follows the redirect; further ones go to its target as long as that works.

use super::address::Address;
use super::exchange::{self, Headers, PendingRequest, Response};
use super::failure::{Failure, status_line};
use crate::cli::escape::shown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Most addresses that are remembered: an index and an archive of each runtime that is installed at once,
/// and more.
const MAX_REMEMBERED: usize = 64;

/// Remembered redirects: the original address and the final target.
static TARGETS: Mutex<Vec<(Address, Address)>> = Mutex::new(Vec::new());

/// Requests that were sent early, only to learn the target of their redirect.
static PREFETCHED: Mutex<Vec<(Address, PendingRequest)>> = Mutex::new(Vec::new());

/// The parameters of a request besides its address.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// Header fields.
    pub headers: Headers<'a>,
    /// Values of `Range` for requests that may be pipelined behind it.
    pub ahead: &'a [String],
    /// The address that is requested after this one: if this one is redirected, that one probably is, too,
    /// and both redirects are learned in one round trip.
    pub then: Option<&'a Address>,
}

/// Requests `url`, follows redirects, and returns a response with a success status.
pub(super) fn get(url: &Address, wanted: &Wanted<'_>) -> Result<Response, Failure> {
    let (headers, ahead) = (wanted.headers, wanted.ahead);
    let asked_at = Instant::now();
    if let Some(target) = remembered(url) {
        match exchange::send(&target, headers, ahead, asked_at) {
            Ok(response) if is_answer(&response, headers) => return Ok(response),
            // The target may have expired or moved, or be failing: the original address gives a new one.
            Ok(response) => response.discard(),
            Err(_) => {}
        }
        evict(url);
    }
    let mut target = prefetched(url).unwrap_or_else(|| url.clone());
    for count in 0..=MAX_REDIRECTS {
        // Not pipelined on the first request: each would be answered with the same redirect.
        let ahead = if target == *url { &[] } else { ahead };
        let response = exchange::send(&target, headers, ahead, asked_at)?;
        if is_answer(&response, headers) {
            if target != *url {
                remember(url, &target);
            }
            return Ok(response);
        }
        let status = response.status();
        if !(300..400).contains(&status) {
            let asked = response.header("retry-after").and_then(|value| value.parse().ok());
            let failure = Failure::of_status(&target, status, asked.map(Duration::from_secs));
            response.discard();
            return Err(failure);
        }
        target = redirect_target(&target, &response)?;
        response.discard();
        if let (0, Some(then)) = (count, wanted.then) {
            prefetch(then);
        }
    }
    Err(Failure::permanent(&target, format!("more than {MAX_REDIRECTS} redirects")))
}

/// Whether the response is final for this request: success, 304, or 416 for a range.
fn is_answer(response: &Response, headers: Headers<'_>) -> bool {
    let status = response.status();
    let unchanged = status == 304 && !headers.is_empty();
    let no_range = status == 416 && headers.iter().any(|(name, _)| *name == "Range");
    (200..300).contains(&status) || unchanged || no_range
}

/// The target of a redirect.
fn redirect_target(url: &Address, response: &Response) -> Result<Address, Failure> {
    let status = response.status();
    let Some(target) = response.header("location") else {
        let reason =
            format!("the server answered {} without a usable Location", status_line(status));
        return Err(Failure::permanent(url, reason));
    };
    let refuse = |reason: &str| {
        Failure::permanent(url, format!("redirect to {} refused: {reason}", shown(target)))
    };
    let next = url.with_url(target).map_err(|reason| refuse(&reason))?;
    // A redirect from https to http is refused, even on loopback.
    if next.is_plain() && !url.is_plain() {
        return Err(refuse("it leads from https to http"));
    }
    // A token that was dropped by one redirect is not sent again after the next.
    Ok(if url.authorization().is_some() { next } else { next.without_token() })
}

/// Sends a request that learns the redirect of `url`, without waiting for the response.
fn prefetch(url: &Address) {
    if let Some(asked) = PendingRequest::send(url, &[("Range", "bytes=0-0")]) {
        lock(&PREFETCHED).push((url.clone(), asked));
    }
}

/// The target of `url` by a prefetched response; the target may redirect again.
fn prefetched(url: &Address) -> Option<Address> {
    let mut all = lock(&PREFETCHED);
    let at = all.iter().position(|(first, _)| first == url)?;
    let (_, asked) = all.remove(at);
    drop(all);
    let response = asked.answer().filter(|response| (300..400).contains(&response.status()))?;
    let target = redirect_target(url, &response).ok()?;
    response.discard();
    Some(target)
}

fn remembered(url: &Address) -> Option<Address> {
    lock(&TARGETS).iter().find(|(first, _)| first == url).map(|(_, target)| target.clone())
}

fn remember(url: &Address, target: &Address) {
    let mut targets = lock(&TARGETS);
    if targets.len() >= MAX_REMEMBERED {
        targets.remove(0);
    }
    targets.push((url.clone(), target.clone()));
}

fn evict(url: &Address) {
    lock(&TARGETS).retain(|(first, _)| first != url);
}

fn lock<T>(list: &'static Mutex<Vec<T>>) -> MutexGuard<'static, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the connections of prefetched responses that were not used.
pub(super) fn close() {
    lock(&PREFETCHED).clear();
}
