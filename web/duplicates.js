// Pictures that there are more than once: the same file, the same to the eye, or the same in words.

import { ask, query } from "./api.js";
import { card, current, list } from "./cards.js";
import { fill, make } from "./elements.js";
import { confirmed, note, tell } from "./messages.js";
import { capital, count } from "./words.js";

const PAGE = 20;
const REASONS = { exact: "The same file", perceptual: "Looks alike", embedding: "Says the same" };

export function show(main) {
  const [groups, end] = [make("div"), make("div.ending", { role: "status" })];
  fill(main, make("div.bar", {}, make("h1", {}, "Duplicates")), groups, end);
  more(groups, end);
}

async function more(groups, end, cursor) {
  fill(end, make("p.quiet", {}, "Looking…"));
  try {
    const answer = await ask("GET", query("/duplicates", { limit: PAGE, cursor }));
    groups.append(...answer.groups.map(group));
    const next = answer.next_cursor && make("button", { type: "button", onclick: () => more(groups, end, answer.next_cursor) }, "Look further");
    const none = !groups.children.length && !next && "No picture is there more than once.";
    fill(end, [...answer.notes.map(capital), none].filter(Boolean).map((line) => make("p.quiet", {}, line)), next);
  } catch (error) {
    fill(end, make("p", {}, error.title), make("button", { type: "button", onclick: () => more(groups, end, cursor) }, "Try again"));
    tell(error);
  }
}

function group({ reason, count: members, items }) {
  const cards = list(REASONS[reason]);
  cards.append(...items.map(card));
  current(cards);
  const remove = reason === "exact" && make("button", { type: "button", onclick: () => removeCopies(place, items) }, "Keep the oldest…");
  const place = make("section.group", {}, make("div.bar", {}, make("h2", {}, `${REASONS[reason]}: ${count(members, "picture")}`), remove), cards);
  return place;
}

async function removeCopies(place, [oldest, ...copies]) {
  const text = `“${oldest.filename}”, the first of them, stays. What you corrected on the others goes with them.`;
  if (!(await confirmed({ title: `Delete ${count(copies.length, "copy", "copies")}?`, text, action: "Delete" }))) return;
  try {
    for (const { item_id: id } of copies) await ask("DELETE", `/items/${id}`);
    place.remove();
    note("Deleted.");
  } catch (error) {
    tell(error);
  }
}
