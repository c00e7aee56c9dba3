// Everything works without this script; it adds filtering, copy buttons and the site's own address.
"use strict";

(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);

  // Where the site begins. The page for missing files does not know how deep it is shown: it takes
  // off what looks like a page of the site, or else the last part of the address.
  const home = document.querySelector("[data-home]");
  const root = new URL(home ? location.href : document.body.dataset.root || "./", location.href);
  root.search = root.hash = "";
  if (home) {
    root.pathname = root.pathname.replace(/\/(?:runtimes\/(?:[^/]+\/)?|assets\/)?[^/]*\/?$/, "/");
    home.href = root.href;
    home.hidden = false;
  }
  if (/^https?:$/.test(root.protocol)) {
    const address = root.href.replace(/\/$/, "");
    // The address becomes part of a command line: only letters that mean nothing to a shell.
    if (/^[\w:\/.~%-]+$/.test(address)) {
      all("[data-site]").forEach((place) => { place.textContent = address; });
    }
  }

  const filter = document.querySelector(".filter");
  if (filter) {
    const rows = all(".runtimes > li").map((row) => ({
      row,
      text: row.querySelector(".what").textContent.toLowerCase(),
      architectures: row.dataset.architectures.split(" "),
    }));
    const update = () => {
      const words = one("query").value.toLowerCase().split(/\s+/);
      const architecture = one("architecture").value;
      let shown = 0;
      for (const { row, text, architectures } of rows) {
        const fits = words.every((word) => text.includes(word))
          && (!architecture || architectures.includes(architecture));
        row.hidden = !fits;
        shown += fits;
      }
      one("count").textContent = shown === rows.length ? `${shown} shown` : `${shown} of ${rows.length} shown`;
      one("nothing").hidden = shown > 0;
    };
    filter.hidden = false;
    filter.addEventListener("input", update);
    update(); // a browser that comes back to the page may have kept what was typed
  }

  if (navigator.clipboard) {
    for (const block of all("pre.command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(block.querySelector("code").textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Select it";
          getSelection().selectAllChildren(block.querySelector("code"));
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      button.setAttribute("aria-live", "polite");
      block.append(button);
    }
  }
})();
