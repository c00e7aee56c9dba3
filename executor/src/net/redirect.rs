//! Redirects, and where they led.
//!
//! A release host answers each request with the address of another host, which is valid for some minutes.
//! It is asked once for each file: what follows goes to that address as long as that is answered.

use super::address::Address;
use super::exchange::{self, Asked, Headers, Response};
use super::failure::{Failure, spoken};
use crate::cli::escape::shown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Most addresses that are remembered: an index and an archive of each runtime that is installed at once,
/// and more.
const MAX_REMEMBERED: usize = 64;

/// First addresses, and where they led.
static TARGETS: Mutex<Vec<(Address, Address)>> = Mutex::new(Vec::new());

/// Addresses that were asked for ahead, to learn where they lead.
static ASKED: Mutex<Vec<(Address, Asked)>> = Mutex::new(Vec::new());

/// What is asked for, beside one address.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// What the request says.
    pub headers: Headers<'a>,
    /// Ranges that are wanted after it, where the server answers several requests in a row.
    pub ahead: &'a [String],
    /// The address that is asked for after this one: if this one leads elsewhere, that one may, too, and
    /// its server is asked for both in one round trip.
    pub then: Option<&'a Address>,
}

/// Asks for `url`, and returns the first answer that is not a redirect and is a success.
pub(super) fn get(url: &Address, wanted: &Wanted<'_>) -> Result<Response, Failure> {
    let (headers, ahead) = (wanted.headers, wanted.ahead);
    let asked_at = Instant::now();
    if let Some(target) = remembered(url) {
        match exchange::send(&target, headers, ahead, asked_at) {
            Ok(response) if is_answer(&response, headers) => return Ok(response),
            // It may have expired, or moved, or be out of order: the first address knows a better one.
            Ok(response) => response.discard(),
            Err(_) => {}
        }
        forget(url);
    }
    let mut target = asked(url).unwrap_or_else(|| url.clone());
    for count in 0..=MAX_REDIRECTS {
        // One that leads elsewhere would do so for each of them.
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
        target = next(&target, &response)?;
        response.discard();
        if let (0, Some(then)) = (count, wanted.then) {
            ask(then);
        }
    }
    Err(Failure::lasting(&target, format!("more than {MAX_REDIRECTS} redirects")))
}

/// Whether it is what was asked for, or says why that is not to be had.
fn is_answer(response: &Response, headers: Headers<'_>) -> bool {
    let status = response.status();
    let unchanged = status == 304 && !headers.is_empty();
    let no_range = status == 416 && headers.iter().any(|(name, _)| *name == "Range");
    (200..300).contains(&status) || unchanged || no_range
}

/// Where a redirect leads.
fn next(url: &Address, response: &Response) -> Result<Address, Failure> {
    let status = response.status();
    let Some(target) = response.header("location") else {
        let reason = format!("the server answered {} without an address", spoken(status));
        return Err(Failure::lasting(url, reason));
    };
    let refuse = |reason: &str| {
        Failure::lasting(url, format!("redirect to {} refused: {reason}", shown(target)))
    };
    let next = url.with_url(target).map_err(|reason| refuse(&reason))?;
    // https never leads back to http, not even on loopback.
    if next.is_plain() && !url.is_plain() {
        return Err(refuse("it leaves https"));
    }
    // A token that was left behind once does not come back.
    Ok(if url.authorization().is_some() { next } else { next.without_token() })
}

/// Asks where `url` leads, and waits for no answer.
fn ask(url: &Address) {
    if let Some(asked) = Asked::on_kept(url, &[("Range", "bytes=0-0")]) {
        lock(&ASKED).push((url.clone(), asked));
    }
}

/// Where `url` leads, if that was asked; it may lead on from there.
fn asked(url: &Address) -> Option<Address> {
    let mut all = lock(&ASKED);
    let at = all.iter().position(|(first, _)| first == url)?;
    let (_, asked) = all.remove(at);
    drop(all);
    let response = asked.answer().filter(|response| (300..400).contains(&response.status()))?;
    let target = next(url, &response).ok()?;
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

fn forget(url: &Address) {
    lock(&TARGETS).retain(|(first, _)| first != url);
}

fn lock<T>(list: &'static Mutex<Vec<T>>) -> MutexGuard<'static, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the connections of answers that nobody has waited for.
pub(super) fn close() {
    lock(&ASKED).clear();
}
