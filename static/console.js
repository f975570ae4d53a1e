/* What HTML and htmx leave to do. Every flow works without it. */
{
  const find = (selector) => document.querySelector(selector);
  const on = (name, act) => document.addEventListener(name, act, true);
  const keysAreOff = () => localStorage.keys === "off";

  const showKeys = () => {
    document.documentElement.toggleAttribute("data-keys-off", keysAreOff());
    if (find("#keys")) find("#keys").checked = !keysAreOff();
  };

  const move = (step) => {
    const items = [...document.querySelectorAll(".queue li a, .rows .who")];
    const focused = items.indexOf(document.activeElement);
    items[(focused < 0 ? items.findIndex((one) => one.ariaCurrent) : focused) + step]?.focus();
  };

  const press = (key) => {
    const target = find(`[aria-keyshortcuts="${key}"]`);
    const hider = target?.closest("details");
    if (hider) hider.open = true;
    target?.href ? target.click() : target?.focus();
  };

  on("keydown", (event) => {
    const { key, target } = event;
    if (event.altKey || find("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey) {
      if (key === "Enter") (target.closest(".work form") ?? find(".link"))?.requestSubmit();
      return;
    }
    if (keysAreOff() || target.matches("select, .field")) return;
    if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
    else if (key === "/" || key === "n") press(key);
    else return;
    event.preventDefault();
  });

  on("change", ({ target }) => {
    if (target.id === "instructor") target.form.requestSubmit();
    if (target.id === "keys") {
      localStorage.keys = target.checked ? "on" : "off";
      showKeys();
    }
    /* The form takes an existing customer or a new one. */
    const other = { create: "customer_id", customer_id: "create" }[target.name];
    const chosen = find(`[name=${other}]:checked`);
    if (chosen) chosen.checked = false;
  });

  /* However often a search was changed, one step back leads to the list it began in. */
  on("htmx:before:history:update", ({ detail }) => {
    if (location.search.includes("q=")) detail.history.type = "replace";
  });

  const failed = (yes) => ({ target }) => {
    if (target.id === "badges") return;
    find("#failed").hidden = !yes;
    /* The list belongs to another term than the one that stands in the field. */
    if (yes && target.matches("[role=search]")) {
      find("#list").hidden = true;
      find("#found").textContent = "";
    }
  };
  on("htmx:before:request", failed(false));
  on("htmx:error", failed(true));
  on("htmx:response:error", failed(true));
  on("htmx:after:swap", showKeys);
  showKeys();

  /* Where a badge did not come, its place says so, and the page offers to ask again. */
  const sayNotLoaded = (text) => {
    const places = [...document.querySelectorAll(".badge:not([data-state])")];
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

  const dialog = find("dialog");
  if (dialog) {
    dialog.open = false;
    dialog.showModal();
    dialog.onclose = () => find(`#${dialog.dataset.back}`).focus();
  }

  const queue = find(".queue");
  if (queue) {
    queue.scrollTop = sessionStorage.queue;
    find(".queue [aria-current=page]")?.scrollIntoView({ block: "nearest" });
    addEventListener("pagehide", () => { sessionStorage.queue = queue.scrollTop; });
  }

  /* Only a change of its text makes a status heard. */
  const done = find(".done");
  if (done) {
    const said = done.textContent;
    done.textContent = "";
    setTimeout(() => { done.textContent = said; }, 100);
  }
}
