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
    document.querySelector("[data-lost]").hidden = true;
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
    const fields = ["query", "language", "architecture", "size"].map(one);
    const rows = all(".runtimes > li").map((row) => ({
      row,
      text: row.querySelector(".what").textContent.toLowerCase(),
      language: row.dataset.language,
      architectures: row.dataset.architectures.split(" "),
      bytes: Number(row.dataset.bytes),
    }));
    const update = () => {
      const [query, language, architecture, size] = fields.map((field) => field.value);
      const words = query.toLowerCase().split(/\s+/);
      let shown = 0;
      for (const { row, text, ...has } of rows) {
        const fits = words.every((word) => text.includes(word))
          && (!language || has.language === language)
          && (!architecture || has.architectures.includes(architecture))
          && (!size || has.bytes <= size * 1e6);
        if (row.hidden === fits) row.hidden = !fits;
        shown += fits;
      }
      const asked = new URLSearchParams(fields.filter(({ value }) => value.trim()).map(({ id, value }) => [id, value]));
      one("count").textContent = shown === rows.length ? `${shown} shown` : `${shown} of ${rows.length} shown`;
      one("nothing").hidden = shown > 0;
      one("clear").hidden = !asked.size;
      return asked;
    };
    // What is asked for stands in the address, so that it can be kept and passed on.
    const remember = () => {
      const asked = update();
      if (root.protocol !== "file:") history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
    };
    filter.hidden = false;
    filter.addEventListener("input", remember);
    one("clear").addEventListener("click", () => {
      for (const field of fields) field.value = "";
      remember();
      fields[0].focus();
    });
    document.addEventListener("keydown", (event) => {
      const elsewhere = !event.target.closest("input, select, textarea");
      if (event.key === "/" && elsewhere && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        fields[0].focus();
      }
    });
    for (const [id, value] of new URLSearchParams(location.search)) {
      const field = fields.find((field) => field.id === id);
      if (field) field.value = value;
    }
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
