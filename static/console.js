/* What every page needs beyond HTML and htmx; every flow works without it. desk.js adds the desk's own. */

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const on = (name, act) => document.addEventListener(name, act, true);
const writes = ({ request }) => request.method === "POST";
const CANT_TELL = "We can’t tell whether this was saved. Try again: it can’t be saved twice.";
const NOT_LOADED = "Part of this page could not be loaded. Check the connection, then try again.";

/* Activate what a key stands for; what it is folded into opens. */
const press = (target) => {
  if (!target) return false;
  const fold = target.closest("details");
  if (fold) fold.open = true;
  if (target.matches("a, button, [type=checkbox], [type=radio]:not(:checked)")) target.click();
  if (!target.matches("a, button")) target.focus();
  return true;
};

{
  const keysAreOff = () => localStorage.keys === "off";

  const showKeys = () => {
    document.documentElement.toggleAttribute("data-keys-off", keysAreOff());
    if (find("#keys")) find("#keys").checked = !keysAreOff();
  };

  /* Places: which row was left, on which list, and what came before and after it. */

  const here = () => location.pathname + location.search;
  const rows = () => all(".rows .who");
  const leave = () => {
    const queue = find(".queue");
    if (queue) sessionStorage.queue = queue.scrollTop;
    const list = find(".rows") && !find("#work");
    if (!list) return;
    sessionStorage.row = document.activeElement.closest?.(".rows li")?.id ?? "";
    sessionStorage.rows = JSON.stringify(rows().map((row) => row.getAttribute("href")));
  };
  const beside = (step) => {
    const list = JSON.parse(sessionStorage.rows ?? "[]");
    const place = list.findIndex((address) => address.split("?")[0] === location.pathname);
    return place < 0 ? undefined : list[place + step];
  };
  const move = (step) => {
    if (find(".reading")) return find(step > 0 ? "#row-below[href]" : "#row-above[href]")?.click();
    const items = rows();
    const from = items.findIndex((row) => row === document.activeElement || row.closest("li").matches(":focus-within"));
    const current = items.findIndex((row) => row.ariaCurrent || row.closest("li").id === location.hash.slice(1));
    items[Math.max(0, (from < 0 ? current : from) + step)]?.focus();
  };

  /* Keys. */

  const single = (key) => {
    if (key === "j" || key === "k") return move(key === "j" ? 1 : -1) ?? true;
    if (key === "?") return help() ?? true;
    const targets = all(`[aria-keyshortcuts="${CSS.escape(key)}"]`);
    return press(targets.find((target) => target.checkVisibility()) ?? targets[0]);
  };
  const help = () => find("#keys-help")?.showModal();

  on("keydown", (event) => {
    const { key, target } = event;
    if (event.altKey || event.isComposing || find("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey) {
      /* On a link or a button the browser has its own use for it, such as a new tab. */
      const form = key === "Enter" && !target.matches("a, button") && target.closest(".work form[method=post]");
      if (!form) return;
      form.requestSubmit(find(".primary, .danger", form));
    } else if (target.matches("[type=search]") && key === "Escape") {
      target.blur();
    } else if (target.id === "customer-search" && (key === "ArrowDown" || key === "Enter")) {
      if (key === "ArrowDown") press(find("#choices [type=radio]"));
    } else if (target.matches("#choices [type=radio]") && key.startsWith("Arrow") && !find("#choices :checked")) {
      press(target);
    } else if (keysAreOff() || target.matches("select, .field") || !single(key)) return;
    event.preventDefault();
  });

  on("click", ({ target }) => {
    if (target.closest("#show-keys")) help();
    const again = target.closest("#failed button");
    if (again) retry?.();
    const copy = target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => { copy.firstChild.data = "Copied"; });
    const older = target.closest("[aria-keyshortcuts=l]");
    if (older) sessionStorage[`newer ${older.getAttribute("href")}`] = here();
  });

  on("change", ({ target }) => {
    if (target.id === "instructor") target.form.requestSubmit();
    if (target.id === "keys") {
      localStorage.keys = target.checked ? "on" : "off";
      showKeys();
    }
  });

  /* Requests: on their way, failed, answered. */

  let retry;
  const sends = (element) => element.matches?.("form[method=post]");
  const fail = (words, element, status) => {
    const notice = find("#failed");
    if (!notice || element.id === "badges") return;
    /* The list belongs to another term than the field now holds. */
    if (element.matches("[role=search]")) {
      find("#list").hidden = true;
      find("#found").textContent = "";
    } else if (element.id === "customer-search") {
      for (const other of all("#choices > :not(:has(:checked))")) other.hidden = true;
      find("#customers-found").textContent = "";
    }
    find("span", notice).textContent = words;
    find("button", notice).textContent = status === 400 ? "Reload" : "Try again";
    element.closest("dialog, .work, .talk, main").prepend(notice);
    notice.hidden = false;
    notice.scrollIntoView({ block: "nearest" });
    retry = () => {
      notice.hidden = true;
      if (status === 400) location.reload();
      else if (sends(element)) element.requestSubmit();
      else if (element.matches("a, button")) element.click();
      else element.dispatchEvent(new Event("again"));
    };
  };
  const pending = new WeakMap();
  const busy = (words) => { if (find("#busy")) find("#busy").textContent = words; };
  const soon = (words) => setTimeout(busy, 300, words);
  on("htmx:before:request", ({ detail: { ctx } }) => {
    const element = ctx.sourceElement;
    if (find("#failed") && element.id !== "badges") find("#failed").hidden = true;
    if (!element.hidden) pending.set(ctx, soon(writes(ctx) ? "Saving…" : "Loading…"));
  });
  on("htmx:finally:request", ({ detail: { ctx } }) => {
    clearTimeout(pending.get(ctx));
    busy("");
  });
  /* A form that htmx doesn't send leads to another page. */
  on("submit", ({ target }) => {
    if (!target.matches("[method=dialog], [hx-boost], [hx-get]")) soon("Loading…");
  });
  on("htmx:error", ({ detail: { ctx } }) => {
    if (ctx) fail(writes(ctx) && find("#work") ? CANT_TELL : NOT_LOADED, ctx.sourceElement);
  });
  on("htmx:response:error", ({ detail: { ctx } }) => {
    const { status } = ctx.response;
    if ([401, 409, 422, 428, 429].includes(status)) return;
    const page = new DOMParser().parseFromString(ctx.text, "text/html");
    const said = writes(ctx) && find("h1 + p", page)?.textContent.trim();
    fail(said || NOT_LOADED, ctx.sourceElement, status);
  });

  /* A form's answer adds no entry to the history unless it leads elsewhere; a search is one entry however often it changes. */
  on("htmx:before:history:update", (event) => {
    const { history, response, sourceElement } = event.detail;
    if (sends(sourceElement)) {
      if (!response.raw.redirected || history.path === here()) event.preventDefault();
      if (!find("#work")) history.type = "replace";
    } else if (location.search.includes("q=")) history.type = "replace";
  });
  let held;
  on("htmx:before:swap", ({ detail: { ctx, tasks } }) => {
    if (ctx.target === document.body) leave();
    held = ctx.target.id === "list" && document.activeElement.closest("#list li")?.id;
    /* Parsed for a page that is put in, what is meant for browsers without scripting would count. */
    for (const { fragment } of tasks) fragment.querySelectorAll("noscript").forEach((element) => element.remove());
  });
  on("htmx:after:swap", ({ detail: { ctx } }) => {
    showKeys();
    if (ctx.target.id === "list") loaded = Date.now();
    if (held) find(`#${held} .who`)?.focus({ preventScroll: true });
    if (ctx.target === document.body) arrive(writes(ctx) && !ctx.response.raw.redirected);
  });

  /* Where a badge did not come, its place says so, and the page offers to ask again. */

  const sayNotLoaded = (text) => {
    const places = all(".badge:not([data-state])");
    for (const place of places) place.textContent = text;
    if (find("#again")) find("#again").hidden = !(text && places.length);
  };
  on("htmx:before:request", ({ target }) => { if (target.id === "badges") sayNotLoaded(""); });
  on("htmx:finally:request", ({ target }) => { if (target.id === "badges") sayNotLoaded("Not loaded"); });
  addEventListener("load", () => { if (!window.htmx) sayNotLoaded("Not loaded"); });
  on("click", ({ target }) => {
    if (!target.closest("#again")?.contains(target.closest("button"))) return;
    window.htmx ? find("#badges").dispatchEvent(new Event("again")) : location.reload();
  });

  /* Arriving at a page: its place, its draft, and the focus on what matters next. */

  /* A list that has been looked away from for more than a minute is loaded again; it never polls. */
  let loaded = Date.now();
  const MAX_AGE_MS = 60_000;
  addEventListener("focus", () => {
    if (Date.now() - loaded < MAX_AGE_MS) return;
    loaded = Date.now();
    find("#reload")?.click();
  });

  const arrive = (answered) => {
    loaded = Date.now();
    showKeys();
    const queue = find(".queue");
    if (queue) {
      queue.scrollTop = sessionStorage.queue;
      find(".queue [aria-current=page]")?.closest("li").scrollIntoView({ block: "nearest" });
    }
    for (const [id, step] of [["#row-above", -1], ["#row-below", 1]]) {
      const link = find(id);
      const address = link && beside(step);
      if (!address) continue;
      link.href = address;
      link.hidden = false;
    }
    const newer = find("[aria-keyshortcuts=h]");
    if (newer && sessionStorage[`newer ${here()}`]) {
      newer.href = sessionStorage[`newer ${here()}`];
      newer.firstChild.data = "← Newer ";
    }
    document.dispatchEvent(new CustomEvent("arrived", { detail: { answered } }));
    if (find("dialog[open]")) return;
    const back = performance.getEntriesByType("navigation")[0]?.type === "back_forward" && sessionStorage.row;
    const row = !find("#work") && (location.hash.slice(1) || back);
    const left = row && document.getElementById(row)?.querySelector(".who");
    const next = find("[aria-invalid]") || find(".problem:not([hidden]), .done") || left;
    next?.focus?.();
    /* Having gone to the row that the address names, the browser takes the focus away. */
    const focusLater = () => setTimeout(() => next.focus());
    if (next && next === left) document.readyState === "complete" ? focusLater() : addEventListener("load", focusLater);
  };

  addEventListener("pagehide", leave);
  addEventListener("pageshow", () => busy("")); /* It may come back from the browser's own store. */
  addEventListener("DOMContentLoaded", () => {
    /* By itself htmx starts a moment later, and a key may come first. */
    window.htmx?.process(document.body);
    for (const search of all("[type=search]")) {
      if (search.value !== search.defaultValue) search.closest("[hx-get]")?.dispatchEvent(new Event("again"));
    }
    arrive(false);
  });
}
