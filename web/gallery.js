// All pictures, or those that a search finds; what is going through is looked at until it is done.

import { ask, query } from "./api.js";
import { card, current, list, update } from "./cards.js";
import { fill, find, icon, make } from "./elements.js";
import { tell } from "./messages.js";
import { watch } from "./watch.js";
import { capital, count, statuses } from "./words.js";

const PAGE = 60;
const ONE_BY_ONE = 8; // so many are asked for by themselves, at most, each time
const SAID = ["q", "category", "status", "sort"];
const STATES = Object.entries(statuses).map(([value, { label }]) => [value, label]);
const ORDERS = [["", "Newest"], ["oldest", "Oldest"], ["captured", "By date taken"], ["name", "By name"], ["size", "Largest"]];
const ORDERS_OF_HITS = [["", "Best"], ["date", "Newest"]];

let asked = {}; // what is shown: {q, category, status, sort}
let entries = new Map(); // item id -> li
let cards = null; // their list
let cursor; // of the next page; null behind the last
let loading = null;
let round = 0; // counts what was asked for: an answer to something else comes too late
const looks = watch(refresh);

/** @param {Element} main @param {Object} parameters of the address */
export function show(main, parameters) {
  const known = Object.entries(parameters).filter(([name, value]) => SAID.includes(name) && value);
  if (cards?.isConnected && JSON.stringify(known) === JSON.stringify(Object.entries(asked))) return;
  asked = Object.fromEntries(known);
  round += 1;
  entries = new Map();
  cursor = undefined;
  loading = null;
  cards = list(asked.q ? "Found pictures" : "Pictures");
  cards.addEventListener("faded", (event) => renew(event.target.closest("li")));
  find("#search").elements.q.value = asked.q ?? "";
  const heading = asked.q ? ["Found for ", make("q", {}, asked.q)] : "Pictures";
  fill(main, make("div.bar", {}, make("h1", {}, heading), filters()), make("div.notes", { role: "status" }), cards, make("div.ending"));
  more();
}

/** The ids before and after one, in the order shown; none where another page is shown. */
export function neighbours(id) {
  if (!cards?.isConnected) return [];
  const ids = [...entries.keys()];
  const at = ids.indexOf(id);
  if (at > ids.length - 5) more();
  return at < 0 ? [] : [ids[at - 1], ids[at + 1]];
}

/** What is known of an item here, to show something at once. */
export const known = (id) => entries.get(id)?.item;

/** Show a change that was made elsewhere on the page. */
export function changed(item) {
  const entry = entries.get(item.item_id);
  if (entry) update(entry, { ...entry.item, ...item, highlights: undefined });
  if (statuses[item.status]?.moving) looks.start();
}

/** The card of an item on whichever page is shown. */
const cardOf = (id) => find(`main li[data-id="${id}"]`);

/** Put the focus on an item's card, as its view closes. */
export const focus = (id) => cardOf(id)?.firstChild.focus();

/** Take away an item that was deleted, and leave the focus beside it. */
export function removed(id) {
  const entry = cardOf(id);
  (entry?.nextElementSibling ?? entry?.previousElementSibling)?.firstChild.focus();
  entry?.remove();
  if (entries.delete(id) && cards.isConnected) ending();
}

// Pages

function more() {
  if (cursor === null) return;
  loading ??= load(round).finally(() => (loading = null));
}

async function load(mine) {
  const end = find(".ending");
  fill(end, make("p.quiet", {}, "Loading…"));
  try {
    const answer = asked.q
      ? await ask("POST", "/search", { body: { ...asked, limit: PAGE, cursor } }) // words stay out of addresses, and so of logs
      : await ask("GET", query("/items", { ...asked, limit: PAGE, cursor }));
    if (mine !== round || !cards.isConnected) return;
    cursor = answer.next_cursor;
    (answer.items ?? answer.hits).forEach((item) => place(item));
    current(cards);
    if (asked.q) notes(answer);
    ending();
    if (moving().length) looks.start();
  } catch (error) {
    if (mine !== round || !cards.isConnected) return;
    fill(end, make("p", {}, error.title), make("button", { type: "button", onclick: more }, "Try again"));
    tell(error);
  }
}

function place(item, first = false) {
  const there = entries.get(item.item_id);
  if (there) return update(there, item);
  const entry = card(item);
  if (first) entries = new Map([[item.item_id, entry], ...entries]);
  else entries.set(item.item_id, entry);
  cards[first ? "prepend" : "append"](entry);
}

/** A thumbnail's address is good for an hour: ask for a new one, once. */
async function renew(entry) {
  const item = !entry.renewed && (await ask("GET", `/items/${entry.dataset.id}`).catch(() => null));
  entry.renewed = true;
  entry.item = null;
  update(entry, item || { ...known(entry.dataset.id), thumbnail: null, thumbnail_url: null });
}

function ending() {
  const end = find(".ending");
  const filtered = asked.q || asked.category || asked.status;
  if (cursor) {
    const button = make("button", { type: "button", onclick: more }, "Show more");
    fill(end, button);
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: "1200px" }).observe(button);
  } else if (entries.size) {
    fill(end, make("p.quiet", {}, count(entries.size, "picture")));
  } else if (filtered) {
    const all = make("a.button", { href: "#/" }, "All pictures");
    fill(end, make("div.empty", {}, make("h2", {}, "Nothing found"), make("p", {}, "Try other words, or fewer."), all));
  } else {
    const how = "Drop them anywhere on this page, or choose them. A moment later each is described, and found by what is in it.";
    const choose = make("button.primary", { type: "button", "data-choose": true }, "Choose pictures");
    fill(end, make("div.empty.invite", {}, icon("pictures"), make("h2", {}, "Add your first pictures"), make("p", {}, how), choose));
  }
}

function notes({ mode, notes: said, hits }) {
  const how = { hybrid: "By words and by meaning.", text: "By words alone.", vector: "By meaning alone." }[mode];
  fill(find(".notes"), [...(hits.length ? [how] : []), ...said].map((line) => make("p.quiet", {}, capital(line))));
}

// Filters

function filters() {
  const option = (name) => ([value, text]) => make("option", { value, selected: value === (asked[name] ?? "") }, text);
  const select = (name, label, choices) => make("select", { name, "aria-label": label }, choices.map(option(name)));
  const chosen = asked.category ? [[asked.category, capital(asked.category)]] : [];
  const category = select("category", "Category", [["", "Category"], ...chosen]);
  const form = make(
    "form.filters",
    {},
    category,
    asked.q ? null : select("status", "State", [["", "State"], ...STATES]),
    select("sort", "Order", asked.q ? ORDERS_OF_HITS : ORDERS),
  );
  form.addEventListener("change", () => {
    location.hash = query("#/", { q: asked.q, ...Object.fromEntries(new FormData(form)) });
  });
  categories(category);
  return form;
}

async function categories(select) {
  const answer = await ask("GET", "/categories").catch(() => ({ categories: [] })); // a list without them is a list
  const others = answer.categories.filter(({ category }) => category !== asked.category);
  select.append(...others.map(({ category, items }) => make("option", { value: category }, `${capital(category)} (${items})`)));
}

// What is going through

document.addEventListener("uploaded", () => looks.start());

const moving = () => [...entries.values()].map(({ item }) => item).filter(({ status }) => statuses[status]?.moving);

/** An item as it is now, null where it was deleted elsewhere. */
async function one(id) {
  try {
    return await ask("GET", `/items/${id}`);
  } catch (error) {
    if (!error.is?.("item-not-found")) throw error;
    removed(id);
    return null;
  }
}

async function refresh() {
  const still = { moving: false, news: false };
  if (!cards?.isConnected) return still;
  const mine = round;
  const before = new Map([...entries].map(([id, { item }]) => [id, item.status]));
  const everything = !Object.keys(asked).length;
  const seen = everything ? (await ask("GET", query("/items", { limit: PAGE }))).items : [];
  const unseen = moving().filter(({ item_id }) => !seen.some((item) => item.item_id === item_id));
  seen.push(...(await Promise.all(unseen.slice(0, ONE_BY_ONE).map(({ item_id }) => one(item_id)))));
  if (mine !== round || !cards.isConnected) return still;
  seen.filter(Boolean).reverse().forEach((item) => place(item, true));
  current(cards);
  const news = [...entries].some(([id, { item }]) => before.get(id) !== item.status);
  if (news) ending();
  return { moving: moving().length > 0, news };
}
