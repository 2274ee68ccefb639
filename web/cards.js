// Pictures as cards in a list that arrow keys move through.

import { fill, icon, make } from "./elements.js";
import { capital, statuses, title } from "./words.js";

const LEAD = 40; // characters before the first marked word

const addressOf = (item) => item?.thumbnail?.url ?? item?.thumbnail_url ?? null;

/** The card of an item, or of a search's hit. A thumbnail whose address is too old says "faded". */
export function card(item) {
  const entry = make("li", { "data-id": item.item_id }, make("a.card", { href: `#/items/${item.item_id}`, tabindex: "-1" }));
  update(entry, item);
  return entry;
}

/** Show what is known now. A picture that is there stays, or it would flicker: its address is signed anew each time. */
export function update(entry, item) {
  const link = entry.firstChild;
  const [before, now] = [addressOf(entry.item), addressOf(item)];
  const same = before?.split("?")[0] === now?.split("?")[0];
  const frame = (same && link.querySelector(".frame")) || framed(now, item);
  const { label, moving } = statuses[item.status] ?? {};
  const found = item.highlights ?? [];
  const inTitle = found.find(({ field, text }) => field === "headline" && text === item.headline);
  const elsewhere = found.find(({ field }) => !["headline", "category"].includes(field));
  frame.classList.toggle("moving", Boolean(moving));
  fill(
    link,
    frame,
    make("span.title", {}, inTitle ? marked(inTitle) : title(item)),
    elsewhere ? make("span.sub", {}, marked(elsewhere)) : null,
    label && item.status !== "ready" ? make(`span.sub.${item.status}`, {}, label) : null,
    item.category && item.status === "ready" && !elsewhere ? make("span.sub", {}, capital(item.category)) : null,
  );
  entry.item = item;
}

function framed(url, item) {
  const picture = url && make("img", { src: url, alt: "", loading: "lazy", decoding: "async" });
  const frame = make("span.frame", {}, picture ?? icon("pictures"));
  picture?.addEventListener("error", () => frame.dispatchEvent(new Event("faded", { bubbles: true })));
  frame.style.backgroundColor = item.dominant_colours?.[0]?.hex ?? "";
  return frame;
}

/** A text in which the words are marked that a search looked for, from shortly before the first; places count code points. */
function marked({ text, highlights }) {
  const letters = [...text];
  const before = letters.slice(0, highlights[0]?.start);
  let place = before.length > LEAD ? before.indexOf(" ", before.length - LEAD) + 1 : 0;
  const parts = highlights.map(({ start, end }) => {
    const between = letters.slice(place, start).join("");
    place = end;
    return [between, make("mark", {}, letters.slice(start, end).join(""))];
  });
  return [before.length > LEAD ? "…" : "", parts, letters.slice(place).join("")];
}

/** A list of cards: Tab comes to one of them, the arrows lead to the others. */
export function list(label) {
  const element = make("ul.cards", { "aria-label": label });
  element.addEventListener("focusin", (event) => current(element, event.target.closest(".card")));
  element.addEventListener("keydown", (event) => {
    const all = [...element.querySelectorAll(".card")];
    const at = all.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const secondRow = all.findIndex((link) => link.offsetTop > all[0].offsetTop);
    const columns = secondRow < 0 ? all.length : secondRow;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: all.length }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, at + step))].focus();
  });
  return element;
}

/** Make one card the one that Tab comes to: this one, else the one that is, else the first. */
export function current(element, link) {
  const now = element.querySelector('.card[tabindex="0"]');
  const next = link ?? now ?? element.querySelector(".card");
  if (now) now.tabIndex = -1;
  if (next) next.tabIndex = 0;
}
