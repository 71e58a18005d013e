// The page is complete without this. With it the figures stay fresh, lists follow what is typed, and their pages turn without
// loading everything.
"use strict";
(() => {
  const main = document.getElementById("main");
  const every = Number(main.dataset.every);
  const trouble = document.getElementById("trouble");
  const said = document.getElementById("said");
  const patience = 15000; // milliseconds for one answer
  const fetching = new Map(); // what ends it, by where it goes
  const figures = document.getElementById("figures");
  const clients = document.getElementById("clients-list");
  let rounds = 0;
  let shown = location.search;

  // load puts a part of the page in its place. A later call for the same place ends an earlier one.
  async function load(path, place) {
    fetching.get(place)?.abort();
    const stop = new AbortController();
    fetching.set(place, stop);
    try {
      const answer = await fetch(path, { signal: AbortSignal.any([stop.signal, AbortSignal.timeout(patience)]) });
      const text = await answer.text();
      if (answer.status === 401) location.reload(); // signed out: the node shows the form
      else if (!answer.ok) throw new Error(`the node answered ${answer.status}`);
      else if (!stop.signal.aborted) place.innerHTML = text; // escaped by the node, which is where this script is from
      trouble.hidden = true;
    } catch (err) {
      if (!stop.signal.aborted) failed();
    } finally {
      if (fetching.get(place) === stop) fetching.delete(place);
    }
  }

  function failed() {
    if (!trouble.hidden) return;
    trouble.textContent = `The node has not answered since ${new Date().toLocaleTimeString()}. What is shown is older; trying again.`;
    trouble.hidden = false;
  }

  // refresh is calm: not while nobody looks, and the list of clients less often, and not under somebody's hands.
  async function refresh() {
    if (!document.hidden) {
      await load("/part/figures", figures);
      const idle = !clients.contains(document.activeElement) && getSelection().isCollapsed && !fetching.has(clients);
      if (++rounds % 3 === 0 && idle) await load("/part/clients" + location.search, clients);
    }
    setTimeout(refresh, every);
  }
  setTimeout(refresh, every);

  async function show(url, form, place) {
    shown = url.search;
    await load(form.dataset.part + url.search, place);
    said.textContent = place.querySelector("[data-summary]")?.textContent ?? "";
  }

  for (const form of document.querySelectorAll("form[data-part]")) {
    const place = document.getElementById(form.dataset.into);
    let typing;
    const search = () => {
      const url = new URL(location);
      for (const field of form.querySelectorAll("input[type=search], select")) {
        if (field.value) url.searchParams.set(field.name, field.value);
        else url.searchParams.delete(field.name);
      }
      if (form.dataset.drop) url.searchParams.delete(form.dataset.drop);
      history.replaceState(null, "", url);
      show(url, form, place);
    };
    form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 250); });
    form.addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(typing); search(); });

    // Links to other pages of the list know of one change only; the address knows what the other lists show by now.
    place.addEventListener("click", (e) => {
      const link = e.target.closest(".paging a");
      if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
      e.preventDefault();
      const url = new URL(location), value = new URL(link.href).searchParams.get(form.dataset.drop);
      if (value) url.searchParams.set(form.dataset.drop, value);
      else url.searchParams.delete(form.dataset.drop);
      history.pushState(null, "", url);
      show(url, form, place).then(() => form.scrollIntoView());
    });
  }
  // Going back is to what the lists showed then; a step to another section changes none of them.
  addEventListener("popstate", () => { if (location.search !== shown) location.reload(); });
})();
