/* The linking desk: drafts, reasons and the dialog. console.js is loaded first. */
{
  const user = () => find("#main").dataset.user;
  const isLinkForm = (form) => form.matches(".link");

  /* Drafts: what was typed for a conversation is kept in this window until it is saved. */

  const draftKey = () => `draft ${user()} ${find("#work").dataset.conversation}`;
  const draft = () => JSON.parse(sessionStorage[draftKey()] ?? "null");
  const store = (kept) => { sessionStorage[draftKey()] = JSON.stringify(kept); };
  const discard = () => sessionStorage.removeItem(draftKey());
  let swapping = false;
  const keep = (form, sent) => {
    if (swapping) return; /* A field that is removed reports its last change. */
    const { q, customer_id, create, reason, seen_version } = Object.fromEntries(new FormData(form));
    if (!(q || customer_id || create || reason)) return discard();
    const removing = form.action.includes("/unlink");
    store({ q, customer_id, create, reason, seen_version, removing, sent });
  };
  on("input", ({ target }) => { if (target.closest(".work form")) keep(target.form); });

  const restore = () => {
    const kept = draft();
    if (!kept) return;
    if (kept.sent && find(`[data-operation="${kept.sent}"]`)) {
      discard();
      return find(".done") ?? say("What you sent before was saved.");
    }
    const { version } = find("#work").dataset;
    const changed = kept.seen_version !== version;
    /* Only a history that can be read shows that what was sent was not saved. */
    const unsure = kept.sent && (!changed || find(".history .error"));
    const form = (kept.removing && find("form[action*='/unlink']")) || find(".link");
    const fold = form.closest("details");
    if (fold) fold.open = true;
    find("[name=reason]", form).value = kept.reason ?? "";
    if (unsure && kept.removing === !isLinkForm(form)) {
      find("[name=operation_id]", form).value = kept.sent;
      find("[name=seen_version]", form).value = kept.seen_version;
    }
    if (isLinkForm(form)) restoreChoice(form, kept);
    say(unsure ? CANT_TELL
      : changed ? "The link was changed meanwhile. What you typed is back, and not saved."
      : kept.ended ? "Your session had ended. What you typed is back, and not saved."
      : "What you typed here before is back, and not saved.");
    find("#restored button").hidden = false;
    store({ ...kept, seen_version: unsure ? kept.seen_version : version, ended: undefined, sent: unsure ? kept.sent : undefined });
  };
  const restoreChoice = (form, { q, customer_id, create }) => {
    const search = find("[name=q]", form);
    const created = find("[name=create]", form);
    if (created) created.checked = !!create;
    const wanted = customer_id && `[name=customer_id][value="${CSS.escape(customer_id)}"]`;
    if (wanted && !find(wanted)) {
      const choice = document.createElement("input");
      choice.type = "radio";
      choice.name = "customer_id";
      choice.value = customer_id;
      choice.hidden = true;
      find("#choices").append(choice);
    }
    if (wanted) find(wanted).checked = true;
    if ((q ?? "") === search.value && !(wanted && find(wanted).hidden)) return;
    search.value = q ?? "";
    search.dispatchEvent(new Event("again"));
  };
  const say = (words) => {
    find("#restored span").textContent = words;
    find("#restored").hidden = false;
  };
  on("click", ({ target }) => {
    if (!target.closest("#restored button")) return;
    discard();
    location.reload();
  });

  /* Choosing: an existing customer or a new one; what was chosen outlives a search. */

  on("change", ({ target }) => {
    const other = { create: "customer_id", customer_id: "create" }[target.name];
    const chosen = other && find(`[name=${other}]:checked`);
    if (chosen) chosen.checked = false;
    if (target.name === "then") localStorage.then = target.checked ? "next" : "stay";
    if (target.closest(".work form")) keep(target.form);
  });
  let chosen;
  on("htmx:before:swap", ({ detail: { ctx } }) => {
    swapping = ctx.target === document.body;
    chosen = ctx.target.id === "choices" && find("#choices :checked")?.value;
  });
  on("htmx:after:swap", () => {
    /* It may have been chosen while the answer was on its way. */
    if (!chosen || find("#choices :checked")) return;
    const form = find("#choices").closest("form");
    restoreChoice(form, { q: find("[name=q]", form).value, customer_id: chosen });
  });

  /* Reasons: the one saved last in this window is offered for the next conversation. */

  const reasonKey = () => `reason ${user()}`;
  const offerReason = () => {
    const last = sessionStorage[reasonKey()];
    if (!last) return;
    for (const button of all(".recent button")) {
      const isLast = !button.dataset.reason;
      if (isLast) {
        button.dataset.reason = last;
        find("bdi", button).textContent = last;
      } else button.removeAttribute("aria-keyshortcuts");
      button.hidden = !isLast && button.dataset.reason === last;
    }
  };
  on("click", ({ target }) => {
    const button = target.closest("[data-reason]");
    if (!button) return;
    const reason = find("[name=reason]", button.form);
    reason.value = button.dataset.reason;
    reason.focus();
    keep(button.form);
  });

  /* Saving: a draft that was sent carries its operation id until the answer says what came of it. */

  on("htmx:before:request", ({ detail: { ctx } }) => {
    const operation = writes(ctx) && find("#work") && find("[name=operation_id]", ctx.sourceElement);
    if (operation) keep(ctx.sourceElement, operation.value);
  });
  on("htmx:after:request", ({ detail: { ctx } }) => {
    const { status, raw } = ctx.response;
    if (!find("#work") || !(writes(ctx) || status === 401)) return;
    if (status < 400 && raw.redirected) {
      sessionStorage[reasonKey()] = draft()?.reason ?? "";
      discard();
    } else if (status < 500 && draft()) {
      /* A redirect says that it was saved, even where the page behind it did not come. */
      store({ ...draft(), sent: raw.redirected ? draft().sent : undefined, ended: status === 401 });
    }
  });

  on("arrived", ({ detail: { answered } }) => {
    swapping = false;
    if (!find("#work")) return;
    const then = find("[name=then]");
    if (then && localStorage.then && !answered) then.checked = localStorage.then === "next";
    offerReason();
    if (!answered) restore();
    const asking = find("#asking");
    if (!asking?.open) return; /* Without scripts it may have been closed before they came. */
    asking.open = false;
    asking.showModal();
    asking.onclose = () => find(`#${asking.dataset.back}`).focus();
  });
}
