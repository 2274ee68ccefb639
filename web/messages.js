// What the page says beside its content: short notes, problems with their reference, and questions.

import { fill, find, icon, make } from "./elements.js";

const NOTE_MS = 6000;

/** Say something that goes by itself; with actions, by label, it stays until somebody has chosen. */
export function note(text, actions = {}) {
  const buttons = Object.entries(actions).map(([label, act]) => make("button", { type: "button", onclick: () => (shown.remove(), act()) }, label));
  const shown = message("note", "status", make("p", {}, text), buttons.length ? make("div.row", {}, buttons) : null);
  if (!buttons.length) setTimeout(() => shown.remove(), NOTE_MS);
}

/** Tell what went wrong; it stays until somebody closes it, or the same goes wrong again. */
export function tell(error) {
  if (!error.title) console.error(error);
  const { title = "Something went wrong on this page", detail = error.message, errors = [] } = error;
  const full = error.is?.("over-quota"); // nothing has failed that somebody would have to look up
  const correlationId = full ? null : error.correlationId;
  for (const other of document.querySelectorAll(".problem")) if (find("strong", other).textContent === title) other.remove();
  const copy = make("button.plain", { type: "button" }, "Copy");
  copy.addEventListener("click", () => navigator.clipboard?.writeText(correlationId).then(() => fill(copy, "Copied"), () => null));
  message(
    "problem",
    "alert",
    make("strong", {}, title),
    make("p", {}, detail),
    errors.length ? make("ul", {}, errors.map(({ field, message: wrong }) => make("li", {}, `${field.replace(/^\w+\./, "")}: ${wrong}`))) : null,
    full ? make("p", {}, make("a", { href: "#/usage" }, "See what is used")) : null,
    correlationId ? make("p.quiet", {}, "Reference ", make("code", {}, correlationId), copy) : null,
  );
}

function message(kind, role, ...content) {
  const close = make("button.round", { type: "button", "aria-label": "Close this message", onclick: () => shown.remove() }, icon("close"));
  const shown = make(`div.message.${kind}`, { role }, make("div", {}, content), close);
  find("#messages").append(shown);
  return shown;
}

/** Open a dialog above everything, with the messages in it: whatever is outside of it cannot be reached. */
export function openDialog(dialog) {
  dialog.addEventListener("close", () => (find("dialog[open]") ?? document.body).append(find("#messages")), { once: true });
  dialog.showModal();
  dialog.append(find("#messages"));
}

/**
 * Ask before something that cannot be undone.
 * @param {{title: string, text: string, action: string, typed?: string}} asked `typed` must be typed first
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, action, typed }) {
  return new Promise((resolve) => {
    const act = make("button.danger", { value: "yes", disabled: Boolean(typed) }, action);
    const field = typed && make("input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
    field?.addEventListener("input", () => (act.disabled = field.value.trim() !== typed));
    const buttons = make("div.row.last", {}, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), act);
    const label = typed && make("label", {}, "Type ", make("strong", {}, typed), " to go on", field);
    const form = make("form", { method: "dialog" }, make("h2", { id: "question" }, title), make("p", {}, text), label, buttons);
    const dialog = make("dialog.question", { "aria-labelledby": "question" }, form);
    document.body.append(dialog);
    openDialog(dialog);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
