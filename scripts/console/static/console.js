// What pages do without reloading. Every page also works, with buttons, where this does not run.
//
// data-live="#id"          a form whose answer replaces that element while somebody types
// data-from="address"      an element that is fetched again when an operation has ended,
// data-refresh="seconds"   and, with this too, every so often
// data-stream="address"    an element that rows from the server are added to as they arrive
// data-confirm="question"  a button that asks first
"use strict";

const ROWS_KEPT = 500;
const TYPING_MS = 150;
const TOGETHER_MS = 50;

async function replace(target, address, { signal, isWanted = () => true } = {}) {
  const answer = await fetch(address, { headers: { "X-Fragment": "1" }, signal });
  if (answer.redirected) return location.reload(); // the session has ended: sign in again
  const text = await answer.text();
  if (!isWanted()) return;
  target.innerHTML = text;
  const said = target.querySelector("[data-say]");
  if (said) document.querySelector("#said").textContent = said.textContent.trim();
}

function live(form) {
  const target = document.querySelector(form.dataset.live);
  let timer;
  let asked = new AbortController();
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      asked.abort(); // a late answer must not replace that of a later question
      asked = new AbortController();
      const given = [...new FormData(form)].filter(([, value]) => value !== "");
      const address = `${form.getAttribute("action")}?${new URLSearchParams(given)}`;
      history.replaceState(null, "", address);
      await replace(target, address, { signal: asked.signal }).catch(stays);
    }, TYPING_MS);
  });
}

function refresh(element) {
  // A button that has the focus must not disappear under it.
  const isWanted = () => !document.hidden && !element.contains(document.activeElement);
  setInterval(() => {
    if (isWanted()) replace(element, element.dataset.from, { isWanted }).catch(stays);
  }, element.dataset.refresh * 1000);
}

function stream(element) {
  const state = document.querySelector("#stream-state");
  const pause = document.querySelector("#pause");
  const isTable = element.matches("tbody");
  let source;
  let last = "";
  let arrived = "";
  let timer;

  function show(text) {
    if (state.textContent !== text) state.textContent = text;
  }
  function add() {
    element.insertAdjacentHTML(isTable ? "afterbegin" : "beforeend", arrived);
    while (isTable && element.rows.length > ROWS_KEPT) element.deleteRow(-1);
    if (!isTable) element.scrollTop = element.scrollHeight;
    arrived = "";
    timer = undefined;
  }
  function open() {
    const address = new URL(element.dataset.stream, location);
    if (last) address.searchParams.set("last", last);
    source = new EventSource(address);
    // The log says at once where it continues; paused before that, it would leave out events.
    if (isTable) pause.disabled = !last;
    else source.onopen = () => show("receiving");
    source.onerror = () => show(source.readyState === EventSource.CLOSED ? "ended" : "connecting");
    source.addEventListener("rows", (message) => {
      if (message.lastEventId) last = message.lastEventId;
      if (isTable) {
        show("receiving");
        pause.disabled = false;
      }
      arrived = isTable ? message.data + arrived : `${arrived}${message.data}\n`;
      timer ??= setTimeout(add, TOGETHER_MS); // an import sends thousands a second
    });
    source.addEventListener("progress", ({ data }) => {
      document.querySelector("#progress").value = data;
    });
    source.addEventListener("done", () => {
      source.close();
      show("finished");
      document.querySelectorAll("[data-until-done]").forEach((one) => one.toggleAttribute("hidden"));
      for (const changed of document.querySelectorAll("[data-from]")) {
        replace(changed, changed.dataset.from).catch(stays);
      }
    });
  }
  open();
  pause?.addEventListener("click", () => {
    const paused = source.readyState === EventSource.CLOSED;
    if (paused) open();
    else source.close();
    show(paused ? "connecting" : "paused");
    pause.textContent = paused ? "Pause" : "Resume";
  });
  addEventListener("pagehide", () => source.close());
}

function stays(error) {
  // The page keeps what it shows; only what was replaced by a later question is not worth a word.
  if (error.name !== "AbortError") document.querySelector("#said").textContent = "no answer";
}

addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.querySelectorAll("[data-live]").forEach(live);
document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("[data-stream]").forEach(stream);
