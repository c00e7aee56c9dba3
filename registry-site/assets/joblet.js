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
    for (const link of all("[data-home] a, [data-nav] a")) link.href = new URL(link.getAttribute("href"), root).href;
    for (const place of all("[data-home], [data-nav]")) place.hidden = false;
    document.querySelector("[data-lost]").hidden = true;
  }
  // From a disk, a registry is called by its directory.
  const file = root.protocol === "file:";
  if (file || /^https?:$/.test(root.protocol)) {
    const address = (file ? root.pathname : root.href).replace(/\/$/, "");
    // The address becomes part of a command line: only letters that mean nothing to a shell.
    if (/^[\w:\/.~%-]+$/.test(address) && !(file && /%|^$/.test(address))) {
      for (const place of all("[data-site]")) place.textContent = address;
      for (const place of all("[data-fetch]")) place.textContent = file ? `file://${address}` : address;
      for (const place of all("[data-registry]")) place.textContent = ` --registry=${address}/registry.json`;
    }
  }

  // Whether `one` is `other` but for a letter that differs, is missing, is too many, or changed places with the next.
  const similar = (one, other) => {
    if (Math.abs(one.length - other.length) > 1) return false;
    let from = 0;
    while (from < one.length && one[from] === other[from]) from += 1;
    const [a, b] = [one.slice(from), other.slice(from)];
    return a.slice(1) === b.slice(1) || a.slice(1) === b || a === b.slice(1)
      || (a[0] === b[1] && a[1] === b[0] && a.slice(2) === b.slice(2));
  };

  const filter = document.querySelector(".filter");
  if (filter) {
    const fields = ["query", "language", "architecture", "size", "order"].map(one);
    const list = document.querySelector(".runtimes");
    const rows = all(".runtimes > li").map((row, at) => {
      const text = row.querySelector(".what").textContent.toLowerCase();
      return {
        row,
        at,
        name: row.querySelector("h3").textContent.trim(),
        text,
        words: text.split(/[^a-z0-9+#]+/),
        inside: [],
        language: row.dataset.language,
        architectures: row.dataset.architectures.split(" "),
        bytes: Number(row.dataset.bytes),
        day: row.dataset.day || "",
      };
    });

    // Packages and commands are fetched at the first search.
    let asked;
    const inside = () => {
      if (asked) return;
      asked = document.createElement("script");
      asked.src = new URL("search.js", root).href;
      asked.addEventListener("load", () => {
        for (const row of rows) {
          const { packages = [], commands = [] } = globalThis.jobletSearch?.[row.name] ?? {};
          row.inside = [...packages, ...commands.map((name) => `command ${name}`)];
        }
        update();
      });
      document.head.append(asked);
    };

    // What each word of the query is found as in a row: as the package of that name, in its text (""), or as the
    // package or command that has it.
    const found = (word, { text, inside }) => {
      const named = word !== "command" && inside.find((it) => it.toLowerCase().startsWith(`${word} `));
      if (named) return named;
      if (text.includes(word)) return "";
      const names = inside.filter((it) => it.toLowerCase().replace(/^command /, "").includes(word));
      // The shortest one is what was meant: openssl rather than python3-openssl.
      return names.sort((a, b) => a.length - b.length)[0];
    };
    const nearly = (word, { words, inside }) => {
      if (word.length < 4) return undefined;
      if (words.some((it) => similar(word, it))) return "";
      return inside.find((it) => it.toLowerCase().replace(/^command /, "").split(/[ ]/).some((name) => similar(word, name)));
    };

    const compare = {
      "": (a, b) => a.at - b.at,
      newest: (a, b) => b.day.localeCompare(a.day) || a.at - b.at,
      smallest: (a, b) => (a.bytes || Infinity) - (b.bytes || Infinity) || a.at - b.at,
    };
    let order = "";
    const sort = (wanted) => {
      if (wanted === order) return;
      order = wanted;
      list.append(...[...rows].sort(compare[wanted] ?? compare[""]).map(({ row }) => row));
    };

    const update = () => {
      const [query, language, architecture, size, wanted] = fields.map((field) => field.value);
      const words = query.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (row) => (!language || row.language === language)
        && (!architecture || row.architectures.includes(architecture))
        && (!size || row.bytes <= size * 1e6);
      // By `look`: the rows that have every word, and what is inside them of those.
      const matches = (look) => {
        const matching = new Map();
        for (const row of rows) {
          if (!fits(row)) continue;
          const hits = words.map((word) => look(word, row));
          if (hits.every((hit) => hit !== undefined)) matching.set(row, hits.filter(Boolean));
        }
        return matching;
      };
      let matching = matches(found);
      const near = !matching.size && words.length > 0;
      if (near) matching = matches((word, row) => found(word, row) ?? nearly(word, row));
      sort(wanted);
      for (const entry of rows) {
        const { row } = entry;
        const hits = matching.get(entry);
        if (row.hidden === !!hits) row.hidden = !hits;
        row.querySelector(".hit")?.remove();
        if (hits?.length) {
          const line = document.createElement("p");
          line.className = "hit";
          line.textContent = hits.join(", ");
          row.querySelector(".what").append(line);
        }
      }
      const asked = new URLSearchParams(fields.filter(({ value }) => value.trim()).map(({ id, value }) => [id, value]));
      const shown = matching.size;
      one("count").textContent = shown === rows.length ? `${shown} shown` : `${shown} of ${rows.length} shown${near && shown ? ", spelled differently" : ""}`;
      one("nothing").hidden = shown > 0;
      one("clear").hidden = !asked.size;
      return asked;
    };
    // The query is in the address, so that it can be saved and shared.
    const remember = () => {
      const asked = update();
      if (root.protocol !== "file:") history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
    };
    filter.hidden = false;
    filter.addEventListener("input", remember);
    fields[0].addEventListener("focus", inside);
    fields[0].addEventListener("input", inside);
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
    if (fields[0].value) inside();
    update(); // a browser that returns to the page may have kept the input
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

  // Lines that are scrolled sideways can be reached by keyboard.
  const reach = () => {
    for (const code of all("pre.command code")) {
      if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
      else code.removeAttribute("tabindex");
    }
  };
  reach();
  addEventListener("resize", reach);
})();
