// Sending pictures. Each gets its form when its turn comes, so that none expires while it waits.
//
// What is not finished is remembered for this tab, with the Idempotency-Key it was begun with. A browser gives no
// file back after a reload; chosen again, it goes on under the same key, and so as the same item.

import { ask, backoff, newKey, pause } from "./api.js";
import { fill, find, icon, make } from "./elements.js";
import { note, tell } from "./messages.js";
import { Problem } from "./problem.js";
import { count, size } from "./words.js";

const AT_ONCE = 3;
const TRIES = 6;
const STALLED_MS = 60_000;
const SHOWN_MS = 4000; // when all is done
const STORE = "magpie.uploads";
const TYPES = /^image\/(jpeg|png|gif|webp|tiff|bmp|avif|heic|heif)$/;
const SUFFIX = /\.(jpe?g|jfif|png|gif|webp|tiff?|bmp|avif|heic|heif)$/i;
const OPEN = ["waiting", "sending", "failed"];

const uploads = []; // {file, key, itemId, state: waiting|sending|failed|done|cancelled, sent, error, request, row}
let unfinished = []; // of before a reload: {key, itemId, name, size, lastModified}

const inState = (...states) => uploads.filter(({ state }) => states.includes(state));
const busy = () => inState("waiting", "sending").length > 0;
const identity = (file) => JSON.stringify([file.name, file.size, file.lastModified]);

/** Listen for files that are chosen, dropped or pasted, and take up what a reload interrupted. */
export function begin() {
  const chooser = find("#files");
  chooser.addEventListener("change", () => {
    add([...chooser.files]);
    chooser.value = "";
  });
  document.addEventListener("click", (event) => event.target.closest("[data-choose]") && chooser.click());
  document.addEventListener("paste", (event) => add([...(event.clipboardData?.files ?? [])]));
  find("#uploads-again").addEventListener("click", () => inState("failed").forEach(retry));
  find("#uploads-fold").addEventListener("click", ({ currentTarget }) => {
    currentTarget.setAttribute("aria-expanded", !find("#uploads").classList.toggle("folded"));
  });
  addEventListener("beforeunload", (event) => busy() && event.preventDefault());
  addEventListener("online", () => inState("failed").forEach((upload) => !upload.error.status && retry(upload)));
  listenForDrops();
  unfinished = JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
  if (unfinished.length) remind();
}

/** Stop, and forget everything, because whoever sent it leaves. */
export function forget() {
  inState(...OPEN).forEach(stop);
  uploads.length = unfinished.length = 0;
}

/** @param {File[]} files of which those that are no pictures by type or name are left out, and that is said */
function add(files) {
  const pictures = files.filter(({ name, size: bytes, type }) => bytes > 0 && (type.startsWith("image/") || SUFFIX.test(name)));
  if (pictures.length < files.length) note(`Left out, not a picture or empty: ${count(files.length - pictures.length, "file")}.`);
  if (!pictures.length) return;
  const there = new Set(inState("waiting", "sending").map(({ file }) => identity(file)));
  for (const file of pictures.filter((picture) => !there.has(identity(picture)))) {
    const before = unfinished.find((other) => identity(other) === identity(file));
    unfinished = unfinished.filter((other) => other !== before);
    uploads.push({ file, key: before?.key ?? newKey(), itemId: before?.itemId, state: "waiting", sent: 0 });
  }
  find("#uploads").hidden = false;
  work();
}

function work() {
  for (const upload of inState("waiting").slice(0, AT_ONCE - inState("sending").length)) send(upload);
  const kept = inState(...OPEN).map(({ file, key, itemId }) => {
    const { name, size: bytes, lastModified } = file;
    return { key, itemId, name, size: bytes, lastModified };
  });
  sessionStorage.setItem(STORE, JSON.stringify([...unfinished, ...kept]));
  show();
}

async function send(upload) {
  upload.state = "sending";
  try {
    await trySending(upload);
    if (upload.state === "sending") upload.state = "done";
    document.dispatchEvent(new Event("uploaded"));
  } catch (error) {
    if (error.is?.("item-deleted")) upload.key = newKey(); // was begun before, and deleted since: a new one, if tried again
    if (upload.state === "sending") Object.assign(upload, { state: "failed", error });
    if (error.is?.("over-quota")) tell(error); // once, however many files it is true of
  }
  work();
}

async function trySending(upload) {
  const { name, size: bytes, type } = upload.file;
  const body = { filename: name, size: bytes, ...(TYPES.test(type) && { content_type: type }) };
  for (let attempt = 0; upload.state === "sending"; attempt += 1) {
    const made = await ask("POST", "/items", { body, key: upload.key });
    upload.itemId = made.item_id;
    if (upload.state !== "sending") return discard(upload); // was left out meanwhile
    const failure = await post(upload, made.upload);
    if (!failure) return;
    if (!failure.passes || attempt + 1 >= TRIES) throw failure.problem;
    await pause(backoff(attempt));
  }
}

/**
 * Send a file with its form; fetch would not say how far it is.
 * @returns {Promise<?{passes: boolean, problem: Problem}>} what went wrong, and whether it may go right in a moment
 */
function post(upload, form) {
  return new Promise((resolve) => {
    const body = new FormData();
    for (const [name, value] of Object.entries(form.fields)) body.append(name, value);
    body.append("file", upload.file);
    const request = (upload.request = new XMLHttpRequest());
    let stalled;
    const moved = (event) => {
      clearTimeout(stalled);
      stalled = setTimeout(() => request.abort(), STALLED_MS);
      upload.sent = event?.total ? event.loaded / event.total : 0;
      if (upload.bar) upload.bar.value = upload.sent;
    };
    request.upload.addEventListener("progress", moved);
    request.addEventListener("loadend", () => {
      clearTimeout(stalled);
      if (request.status >= 200 && request.status < 300) return resolve(null);
      const code = /<Code>(\w+)</.exec(request.responseText)?.[1] ?? `status ${request.status}`;
      const detail = !request.status
        ? "The connection broke, or the file has changed on your disk."
        : { EntityTooLarge: "It is larger than what is taken." }[code] ?? `The storage answered: ${code}.`;
      const problem = new Problem({ status: request.status, title: "The picture was not sent", detail });
      resolve({ passes: !request.status || request.status >= 500 || code === "RequestTimeout", problem });
    });
    request.open("POST", form.url);
    request.send(body);
    moved();
  });
}

function retry(upload) {
  Object.assign(upload, { state: "waiting", sent: 0 });
  work();
}

function stop(upload) {
  upload.state = "cancelled";
  upload.request?.abort();
}

function cancel(upload) {
  stop(upload);
  discard(upload);
  work();
}

/** An item without a picture says nothing to anybody. */
const discard = ({ itemId }) => itemId && ask("DELETE", `/items/${itemId}`).catch(() => null);

function remind() {
  const names = unfinished.slice(0, 3).map(({ name }) => name).join(", ") + (unfinished.length > 3 ? "…" : "");
  const forgotten = () => {
    unfinished.forEach(discard);
    unfinished = [];
    work();
  };
  note(`Interrupted: ${count(unfinished.length, "upload")} (${names}). Choose the same files again to finish.`, { Forget: forgotten });
}

// The tray

function show() {
  const [done, failed, open] = [inState("done").length, inState("failed").length, inState("waiting", "sending").length];
  const said = open ? `Uploading: ${done} of ${done + failed + open} done` : `${count(done, "picture")} uploaded${failed ? `, ${failed} not` : ""}`;
  if (find("#uploads-said").textContent !== said) fill(find("#uploads-said"), said);
  find("#uploads-again").hidden = !failed || open > 0;
  for (const upload of uploads) {
    if (upload.shown !== upload.state) showRow(upload);
  }
  if (!open && !failed) setTimeout(() => !inState(...OPEN).length && clear(), done ? SHOWN_MS : 0);
}

function clear() {
  for (const { row } of uploads.splice(0)) row?.remove();
  find("#uploads").hidden = true;
}

function showRow(upload) {
  const { file, state, error } = upload;
  if (!upload.row) find("#uploads ul").append((upload.row = make("li")));
  upload.shown = state;
  upload.row.hidden = state === "cancelled";
  const button = (label, drawing, act) => {
    const given = { type: "button", "aria-label": `${label}: ${file.name}`, title: label, onclick: () => act(upload) };
    return make("button.round", given, icon(drawing));
  };
  upload.bar = state === "sending" ? make("progress", { max: 1, value: upload.sent, "aria-label": `Sending ${file.name}` }) : null;
  fill(
    upload.row,
    make("span.name", { title: file.name }, file.name),
    upload.bar ?? { waiting: make("small", {}, size(file.size)), failed: button("Try again", "again", retry) }[state],
    state === "done" ? icon("check") : button("Leave out", "close", cancel),
    state === "failed" ? make("small.bad", {}, failure(error)) : null,
  );
}

const failure = (error) => (error.is?.("over-quota") ? error.detail : `${error.title}. ${error.detail} ${error.correlationId ?? ""}`);

// Files that are dropped anywhere on the page, whole folders too

function listenForDrops() {
  let depth = 0;
  const listen = (kind, act) =>
    addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      act(event.dataTransfer);
      document.body.classList.toggle("dropping", depth > 0);
    });
  listen("dragenter", () => (depth += 1));
  listen("dragleave", () => (depth -= 1));
  listen("dragover", () => null);
  listen("drop", ({ items, files }) => {
    depth = 0;
    const [entries, plain] = [[...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean), [...files]];
    Promise.all(entries.map(filesOf)).then((found) => add(entries.length ? found.flat() : plain), tell);
  });
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const inside = [];
  let some; // a folder is told in parts, the last of which is empty
  do inside.push(...(some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))));
  while (some.length);
  return (await Promise.all(inside.map(filesOf))).flat();
}
