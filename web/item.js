// One picture above the page: what it shows, what is known of it, and what can be done with it.

import { ask, query } from "./api.js";
import { card, current, list } from "./cards.js";
import { fill, find, icon, make } from "./elements.js";
import * as gallery from "./gallery.js";
import { confirmed, note, openDialog, tell } from "./messages.js";
import { watch } from "./watch.js";
import { capital, date, duration, happened, size, statuses, time, title } from "./words.js";

const SIMILAR = 8;
const dialog = find("#item");
const view = find(".view", dialog);
const looks = watch(refresh);

let id = null; // of the item that is open
let item = null; // what is known of it: at first what the list below knows, `views` come with the rest
let under = "#/"; // the address of the page below
let replaced = null; // the version of a description that was asked for anew, until there is another

dialog.addEventListener("close", () => {
  const was = id;
  id = item = replaced = null;
  fill(view);
  if (location.hash.startsWith("#/items/")) location.replace(under);
  if (!document.activeElement.matches("input, textarea, select")) gallery.focus(was); // "close" comes late: somebody may type already
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
dialog.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, .cards") || event.altKey || event.ctrlKey || event.metaKey) return;
  const [before, next] = gallery.neighbours(id);
  turn({ ArrowLeft: before, ArrowRight: next }[event.key]);
});

/** @param {string} wanted item id @param {string} address of the page below */
export async function open(wanted, address) {
  under = address;
  if (id === wanted) return;
  id = wanted;
  replaced = null;
  item = gallery.known(wanted) ?? null;
  if (!dialog.open) openDialog(dialog);
  draw();
  find("[data-keep=close]", dialog).focus();
  try {
    if ((await refresh()).moving) looks.start();
  } catch (error) {
    if (id === wanted) dialog.close();
    tell(error);
  }
}

export const close = () => dialog.close();

const turn = (to) => to && location.replace(`#/items/${to}`);

async function refresh() {
  const wanted = id;
  const still = { moving: false, news: false };
  if (!wanted) return still;
  const answer = await ask("GET", `/items/${wanted}`);
  if (id !== wanted) return still;
  const news = !item?.views || item.updated_at !== answer.updated_at;
  item = answer;
  gallery.changed(item);
  if (news && !find("form", view)) draw();
  if (item.analysis?.version !== replaced) replaced = null;
  return { moving: replaced !== null || Boolean(statuses[item.status]?.moving), news };
}

// What is shown

function draw() {
  const kept = view.contains(document.activeElement) && document.activeElement.dataset.keep;
  const [before, next] = gallery.neighbours(id);
  const button = (name, label, act) =>
    make(`button.round.${name}`, { type: "button", "aria-label": label, "data-keep": name, onclick: act }, icon(name));
  const closing = button("close", "Close", close);
  const heading = make("div.top", {}, make("h2", { id: "item-title" }, item ? title(item) : "Loading…"), closing);
  fill(
    view,
    make(
      "div.stage",
      {},
      picture(),
      before && button("before", "The picture before", () => turn(before)),
      next && button("next", "The next picture", () => turn(next)),
    ),
    make("div.facts", {}, heading, item && facts()),
  );
  if (kept) (find(`[data-keep=${kept}]`, view) ?? closing).focus();
}

function picture() {
  const url = item?.views?.image ?? item?.thumbnail?.url ?? item?.thumbnail_url;
  return url ? make("img", { src: url, alt: item.summary ?? title(item) }) : icon("pictures");
}

function facts() {
  const { label, moving } = statuses[item.status] ?? {};
  const why = item.error ? `: ${item.error.message}` : moving ? "…" : ".";
  const state = item.status === "ready" ? null : make(moving ? "p.quiet" : "p.notice", { role: "status" }, label, why);
  if (!item.views) return [state, words()];
  const alike = item.status === "ready" && more("Similar pictures", similar);
  if (alike) alike.open = true;
  return [state, words(), details(), actions(), alike, timeline(), more("Descriptions", analyses)];
}

function words() {
  const chips = (item.tags ?? []).map((tag) => make("a.chip", { href: query("#/", { q: tag }) }, tag));
  if (item.category) chips.unshift(make("a.chip", { href: query("#/", { category: item.category }) }, capital(item.category)));
  return make(
    "section.words",
    {},
    item.summary ? make("p", {}, item.summary) : null,
    chips.length ? make("p.row", {}, chips) : null,
    item.corrections ? make("p.quiet", {}, "Corrected by you.") : null,
    item.views ? make("div.row", {}, make("button", { type: "button", "data-keep": "edit", onclick: edit }, "Edit")) : null,
  );
}

function details() {
  const colours = item.dominant_colours ?? [];
  const strip = make("div.colours", { role: "img", "aria-label": `Colours: ${colours.map(({ hex }) => hex).join(", ")}` });
  for (const { hex, share } of colours) {
    const part = make("span", { title: hex });
    part.style.backgroundColor = hex;
    part.style.flexGrow = share;
    strip.append(part);
  }
  const rows = {
    File: item.filename,
    Size: [item.width && `${item.width} × ${item.height}`, item.file_size && size(item.file_size)].filter(Boolean).join(", "),
    Taken: item.captured_at && time(item.captured_at),
    Camera: item.camera,
    Added: date(item.created_at),
    "Described by": item.model && `${item.model} (${item.provider})`,
    "Copy of": item.duplicate_of && make("a", { href: `#/items/${item.duplicate_of}` }, "another of your pictures"),
  };
  const lines = Object.entries(rows).filter(([, value]) => value);
  const told = make("dl", {}, lines.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  return make("section", {}, told, colours.length ? strip : null);
}

function actions() {
  const button = (name, label, act) => make("button", { type: "button", "data-keep": name, onclick: act }, label);
  const original = item.views.original && make("a.button", { href: item.views.original, download: item.filename }, "Download");
  return make("div.row", {}, original, item.image && button("again", "Describe again", describe), button("delete", "Delete…", remove));
}

function timeline() {
  const lines = item.timeline.map(({ stage, event, duration_ms: ms, occurred_at: at }) =>
    make("li", {}, happened[event] ?? `${capital(stage)}: ${event.replaceAll("_", " ")}`, make("small", { title: time(at) }, ms ? duration(ms) : time(at))),
  );
  return make("details", {}, make("summary", {}, "Timeline"), make("ol.steps", {}, lines));
}

/** Something that is asked for when it is opened. */
function more(label, load) {
  const place = make("div", {}, make("p.quiet", {}, "Loading…"));
  const shown = make("details", {}, make("summary", {}, label), place);
  const failed = (error) => make("p.quiet", {}, error.title ?? error.message);
  shown.addEventListener("toggle", async () => shown.open && id && fill(place, await load(id).catch(failed)));
  return shown;
}

async function analyses(wanted) {
  const { analyses: versions } = await ask("GET", `/items/${wanted}/analyses`);
  const line = ({ version, headline, model, current: now, created_at: at }) =>
    make("li", {}, `${version}. ${headline}`, make("small", { title: time(at) }, now ? "current, " : "", model));
  return make("ol.steps", {}, versions.map(line));
}

async function similar(wanted) {
  const { hits, notes } = await ask("GET", query(`/items/${wanted}/similar`, { limit: SIMILAR }));
  if (!hits.length) return make("p.quiet", {}, notes[0] ? capital(notes[0]) : "None is near to it.");
  const strip = list("Similar pictures");
  strip.classList.add("strip");
  strip.append(...hits.map(card));
  current(strip);
  return strip;
}

// What can be done

async function edit() {
  const { headline, category, summary, filename } = item;
  const before = { headline: headline ?? "", category: category ?? "", summary: summary ?? "", tags: item.tags.join(", "), filename };
  const field = (name, label, more = {}) => make("label", {}, label, make("input", { name, value: before[name], autocomplete: "off", ...more }));
  const choices = make("datalist", { id: "categories" });
  const form = make(
    "form.words",
    {},
    field("headline", "Headline", { maxlength: 200 }),
    field("category", "Category", { maxlength: 80, list: "categories" }),
    choices,
    make("label", {}, "Summary", make("textarea", { name: "summary", maxlength: 2000 }, before.summary)),
    field("tags", "Tags, with commas between them"),
    field("filename", "File name", { maxlength: 255, required: true }),
    make("p.quiet", {}, "What the model said is kept: empty a field to go back to it."),
    make("div.row.last", {}, make("button", { type: "button", onclick: draw }, "Cancel"), make("button.primary", {}, "Save")),
  );
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // leaves the form, and not the picture
    draw();
    find("[data-keep=edit]", view).focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save(form, before);
  });
  find(".words", view).replaceWith(form);
  form.elements.headline.focus();
  const { categories } = await ask("GET", "/categories").catch(() => ({ categories: [] })); // they only help to type
  choices.append(...categories.map(({ category }) => make("option", { value: category })));
}

async function save(form, before) {
  const wanted = id;
  const said = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  const other = said.filter(([name, value]) => value !== before[name]);
  const changed = Object.fromEntries(other.map(([name, value]) => [name, value || null])); // null takes a correction back
  if (changed.tags) changed.tags = changed.tags.split(",").map((tag) => tag.trim()).filter(Boolean);
  const button = find(".primary", form);
  button.disabled = true;
  try {
    const answer = Object.keys(changed).length ? await ask("PATCH", `/items/${wanted}`, { body: changed }) : item;
    gallery.changed(answer);
    if (id !== wanted) return;
    item = answer;
    draw();
    find("[data-keep=edit]", view).focus();
    note("Saved.");
  } catch (error) {
    button.disabled = false;
    tell(error);
  }
}

async function describe() {
  try {
    await ask("POST", `/items/${id}/analyze`, { body: {} });
    note("It is being described again. Every description is kept.");
    replaced = item.analysis?.version ?? null;
    looks.start();
  } catch (error) {
    tell(error);
  }
}

async function remove() {
  const { item_id: gone, filename } = item;
  const text = `“${filename}” will be gone for good: the picture with all its versions, and all that was said of it.`;
  if (!(await confirmed({ title: "Delete this picture?", text, action: "Delete" }))) return;
  try {
    await ask("DELETE", `/items/${gone}`).catch((error) => {
      if (!error.is?.("item-not-found")) throw error; // an answer was lost, and the item with it
    });
    if (id === gone) dialog.close();
    gallery.removed(gone);
    note("Deleted.");
  } catch (error) {
    tell(error);
  }
}
