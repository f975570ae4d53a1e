/* What HTML and htmx leave to do. Every flow works without it. */
{
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const on = (name, act) => document.addEventListener(name, act, true);
  const whenReady = (act) => (document.readyState === "complete" ? act() : addEventListener("load", act));
  const keysAreOff = () => localStorage.keys === "off";
  const CANT_TELL = "We can’t tell whether this was saved. Try again: it can’t be saved twice.";
  const NOT_LOADED = "Part of this page could not be loaded. Check the connection, then try again.";

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

  const press = (key) => {
    const targets = all(`[aria-keyshortcuts="${key}"]`);
    const target = targets.find((one) => one.checkVisibility()) ?? targets[0];
    if (!target) return false;
    const hider = target.closest("details");
    if (hider) hider.open = true;
    if (target.matches("a, button, [type=checkbox]")) target.click();
    if (!target.matches("a, button")) target.focus();
    return true;
  };
  const choose = (radio) => {
    if (!radio) return false;
    const hider = radio.closest("details");
    if (hider) hider.open = true;
    if (!radio.checked) radio.click();
    radio.focus();
    return true;
  };
  const single = (key) => {
    if (key === "j" || key === "k") return move(key === "j" ? 1 : -1) ?? true;
    if (key === "?") return help() ?? true;
    if (/^[1-9]$/.test(key)) return choose(all("#choices input[type=radio]")[key - 1]);
    return "/nuhlcr".includes(key) && press(key);
  };
  const help = () => find("#keys-help")?.showModal();

  on("keydown", (event) => {
    const { key, target } = event;
    if (event.altKey || event.isComposing || find("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey) {
      const form = key === "Enter" && target.closest(".work form[method=post]");
      if (!form) return;
      form.requestSubmit(find(".primary, .danger", form));
    } else if (target.matches("[type=search]") && key === "Escape") {
      if (target.value) return;
      target.blur();
    } else if (target.id === "customer-search" && (key === "ArrowDown" || key === "Enter")) {
      if (key === "ArrowDown") choose(find("#choices input[type=radio]"));
    } else if (target.matches("#choices [type=radio]") && key.startsWith("Arrow") && !find("#choices :checked")) {
      choose(target);
    } else if (keysAreOff() || target.matches("select, .field") || !single(key)) return;
    event.preventDefault();
  });

  on("click", ({ target }) => {
    if (target.closest("#show-keys")) help();
    const again = target.closest("#failed button");
    if (again) retry?.();
    const copy = target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => { copy.firstChild.data = "Copied"; });
    const said = target.closest("[data-reason]");
    if (said) {
      const reason = find("[name=reason]", said.form);
      reason.value = said.dataset.reason;
      reason.focus();
      keep(said.form);
    }
    const drop = target.closest("#restored button");
    if (drop) {
      sessionStorage.removeItem(draftKey());
      location.reload();
    }
    const older = target.closest("[aria-keyshortcuts=l]");
    if (older) sessionStorage[`newer ${older.getAttribute("href")}`] = here();
  });

  on("change", ({ target }) => {
    if (target.id === "instructor") target.form.requestSubmit();
    if (target.id === "keys") {
      localStorage.keys = target.checked ? "on" : "off";
      showKeys();
    }
    /* The form takes an existing customer or a new one. */
    const other = { create: "customer_id", customer_id: "create" }[target.name];
    const chosen = other && find(`[name=${other}]:checked`);
    if (chosen) chosen.checked = false;
    if (target.closest(".work form")) keep(target.form);
  });
  on("input", ({ target }) => { if (target.closest(".work form")) keep(target.form); });

  /* Drafts: what was typed for a conversation, kept in this window until it is saved. */

  const draftKey = () => `draft ${find("#main").dataset.user} ${find("#work").dataset.conversation}`;
  const draft = () => JSON.parse(sessionStorage[draftKey()] ?? "null");
  const store = (kept) => { sessionStorage[draftKey()] = JSON.stringify(kept); };
  let swapping = false;
  const keep = (form, changes = {}) => {
    if (swapping) return; /* A field that is taken away reports its last change. */
    const fields = Object.fromEntries(new FormData(form));
    const { q, customer_id, create, reason, seen_version } = fields;
    if (!(q || customer_id || create || reason)) return sessionStorage.removeItem(draftKey());
    const removing = !form.matches(".link") && form.action.includes("/unlink");
    store({ q, customer_id, create, reason, seen_version, removing, ...changes });
  };
  /* The reason that was saved last in this window is offered for the next conversation. */
  const lastReason = () => `reason ${find("#main").dataset.user}`;
  const offer = () => {
    const last = sessionStorage[lastReason()];
    if (!last) return;
    all("[aria-keyshortcuts=r]").forEach((one) => one.removeAttribute("aria-keyshortcuts"));
    for (const field of all(".work [name=reason]")) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: last });
      button.dataset.reason = last;
      button.setAttribute("aria-keyshortcuts", "r");
      const key = Object.assign(document.createElement("kbd"), { textContent: "r", ariaHidden: "true" });
      button.append(" ", key);
      const line = Object.assign(document.createElement("p"), { className: "recent" });
      line.append(button);
      field.after(line);
    }
  };
  const restore = () => {
    const kept = draft();
    if (!kept) return;
    const { conversation, version } = find("#work").dataset;
    if (kept.sent && find(`[data-operation="${kept.sent}"]`)) {
      sessionStorage.removeItem(draftKey());
      return say("What you sent before was saved.", false);
    }
    const changed = kept.seen_version !== version;
    const form = (kept.removing && find("form[action*='/unlink']")) || find(".link");
    const hider = form.closest("details");
    if (hider) hider.open = true;
    find("[name=reason]", form).value = kept.reason ?? "";
    if (kept.sent && !changed) find("[name=operation_id]", form).value = kept.sent;
    if (form.matches(".link")) restoreChoice(form, kept);
    say(changed ? "Someone changed this link meanwhile. What you typed is back, and not saved."
      : kept.ended ? "Your session had ended. What you typed is back, and not saved."
      : kept.sent ? CANT_TELL
      : "What you typed here before is back, and not saved.", true);
    store({ ...kept, seen_version: version, ended: undefined, sent: changed ? undefined : kept.sent });
  };
  const restoreChoice = (form, { q, customer_id, create }) => {
    const search = find("[name=q]", form);
    const created = find("[name=create]", form);
    if (created) created.checked = !!create;
    const wanted = customer_id && `[name=customer_id][value="${CSS.escape(customer_id)}"]`;
    if (wanted && !find(wanted)) {
      const choice = Object.assign(document.createElement("input"), { type: "radio", name: "customer_id", value: customer_id, hidden: true });
      find("#choices").append(choice);
    }
    if (wanted) find(wanted).checked = true;
    if ((q ?? "") === search.value && !(wanted && find(wanted).hidden)) return;
    search.value = q ?? "";
    whenReady(() => search.dispatchEvent(new Event("again")));
  };
  const say = (words, droppable) => {
    const line = document.createElement("p");
    line.id = "restored";
    line.className = "problem";
    line.role = "status";
    line.tabIndex = -1;
    line.append(words);
    if (droppable) {
      const drop = document.createElement("button");
      Object.assign(drop, { type: "button", className: "plain", textContent: "Discard" });
      line.append(" ", drop);
    }
    find("#work").prepend(line);
  };

  /* Requests: on their way, failed, answered. */

  let retry;
  const sends = (element) => element.matches?.("form[method=post]");
  const writes = ({ request }) => request.method === "POST";
  const fail = (words, element, status) => {
    const notice = find("#failed");
    if (!notice || element.id === "badges") return;
    /* The list belongs to another term than the one that stands in the field. */
    if (element.matches("[role=search]")) {
      find("#list").hidden = true;
      find("#found").textContent = "";
    }
    find("span", notice).textContent = words;
    find("button", notice).textContent = status === 400 ? "Reload" : "Try again";
    (element.closest("dialog") ?? find("#main")).prepend(notice);
    notice.hidden = false;
    retry = () => {
      notice.hidden = true;
      if (status === 400) location.reload();
      else if (sends(element)) element.requestSubmit();
      else if (element.matches("a")) element.click();
      else element.dispatchEvent(new Event("again"));
    };
  };
  const pending = new WeakMap();
  const busy = (words) => { if (find("#busy")) find("#busy").textContent = words; };
  on("htmx:before:request", ({ detail: { ctx } }) => {
    const element = ctx.sourceElement;
    if (find("#failed") && element.id !== "badges") find("#failed").hidden = true;
    if (!element.hidden) pending.set(ctx, setTimeout(busy, 300, writes(ctx) ? "Saving…" : "Loading…"));
    const operation = writes(ctx) && find("#work") && find("[name=operation_id]", element);
    if (operation) keep(element, { sent: operation.value });
  });
  on("htmx:finally:request", ({ detail: { ctx } }) => {
    clearTimeout(pending.get(ctx));
    busy("");
  });
  on("htmx:error", ({ detail: { ctx } }) => {
    if (ctx) fail(writes(ctx) && find("#work") ? CANT_TELL : NOT_LOADED, ctx.sourceElement);
  });
  on("htmx:after:request", ({ detail: { ctx } }) => {
    const { status, raw } = ctx.response;
    if (!find("#work") || !(writes(ctx) || status === 401)) return;
    if (status < 400 && raw.redirected) {
      sessionStorage[lastReason()] = draft()?.reason ?? "";
      sessionStorage.removeItem(draftKey());
    }
    else if (status < 500 && draft()) store({ ...draft(), sent: undefined, ended: status === 401 });
  });
  on("htmx:response:error", ({ detail: { ctx } }) => {
    const { status } = ctx.response;
    if ([401, 409, 422, 428, 429].includes(status)) return;
    const page = new DOMParser().parseFromString(ctx.text, "text/html");
    const said = writes(ctx) && find("h1 + p", page)?.textContent.trim();
    fail(said || NOT_LOADED, ctx.sourceElement, status);
  });

  /* An answer with the form in it makes no step of the history; however often a search was changed, it is one. */
  on("htmx:before:history:update", (event) => {
    const { history, response, sourceElement } = event.detail;
    if (sends(sourceElement)) {
      if (!response.raw.redirected || history.path === here()) event.preventDefault();
      if (!find("#work")) history.type = "replace";
    } else if (location.search.includes("q=")) history.type = "replace";
  });
  /* Parsed for a page that is put in, what is meant for browsers without scripting would count. */
  let held, chosen;
  on("htmx:before:swap", ({ detail: { ctx, tasks } }) => {
    swapping = ctx.target === document.body;
    if (swapping) leave();
    chosen = ctx.target.id === "choices" && find("#choices :checked")?.value;
    held = ctx.target.id === "list" && document.activeElement.closest("#list li")?.id;
    for (const { fragment } of tasks) fragment.querySelectorAll("noscript").forEach((one) => one.remove());
  });
  on("htmx:after:swap", ({ detail: { ctx } }) => {
    showKeys();
    if (chosen && !find("#choices :checked")) {
      /* Chosen while the answer was on its way. */
      const form = find("#choices").closest("form");
      restoreChoice(form, { q: find("[name=q]", form).value, customer_id: chosen });
    }
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
    swapping = false;
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
      if (address) Object.assign(link, { href: address, hidden: false });
    }
    const newer = find("[aria-keyshortcuts=h]");
    if (newer && sessionStorage[`newer ${here()}`]) {
      newer.href = sessionStorage[`newer ${here()}`];
      newer.firstChild.data = "← Newer ";
    }
    if (find("#work")) offer();
    if (find("#work") && !answered) restore();
    const asking = find("#asking");
    if (asking) {
      asking.open = false;
      asking.showModal();
      asking.onclose = () => find(`#${asking.dataset.back}`).focus();
      return;
    }
    const back = performance.getEntriesByType("navigation")[0]?.type === "back_forward" && sessionStorage.row;
  const row = !find("#work") && (location.hash.slice(1) || back);
    const left = row && document.getElementById(row)?.querySelector(".who");
    const next = find("[aria-invalid]") || find(".problem:not([hidden]), .done") || left;
    next?.focus?.();
    /* Having gone to the row that the address names, the browser takes the focus away. */
    if (next && next === left) whenReady(() => setTimeout(() => next.focus()));
  };

  addEventListener("pagehide", leave);
  arrive(false);
}
