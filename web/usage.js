// What is stored and what models have cost: in a month, by day, and how much of one's limits that is.

import { ask, query } from "./api.js";
import { fill, make } from "./elements.js";
import { tell } from "./messages.js";
import { count, date, figure, money, month, size } from "./words.js";

export async function show(main, { month: chosen }) {
  const heading = make("h1", {}, "Usage");
  const sheet = make("div.sheet", {}, heading, make("p.quiet", {}, "Loading…"));
  fill(main, sheet);
  try {
    const usage = await ask("GET", query("/usage", { month: chosen }));
    fill(sheet, heading, stored(usage.limits), spent(usage, Boolean(chosen)));
  } catch (error) {
    fill(sheet, heading, make("p", {}, error.title));
    tell(error);
  }
}

function stored({ items, storage_bytes: bytes, scans }) {
  const numbers = [number("Pictures", items.used, figure, items.limit), number("Originals", bytes.used, size, bytes.limit)];
  if (scans.used) numbers.push(number("Scans", scans.used, figure, scans.limit));
  return make("section", {}, make("h2", {}, "Stored now"), make("dl.numbers", {}, numbers));
}

function spent(usage, past) {
  const { cost_usd: cost, calls, input_tokens: read, output_tokens: written } = usage.totals;
  const step = (months, label) => {
    const other = new Date(usage.from);
    other.setUTCMonth(other.getUTCMonth() + months);
    return make("a.button.plain", { href: `#/usage?month=${other.toISOString().slice(0, 7)}` }, label);
  };
  const numbers = [
    number("Cost", Number(cost), money, usage.forecast ? usage.limits.model_usd.limit : null),
    number("Calls", calls, figure),
    number("Tokens read", read, figure),
    number("Tokens written", written, figure),
  ];
  return make(
    "section",
    {},
    make("div.row", {}, make("h2", {}, `Models in ${month(usage.from)}`), step(-1, "Month before"), past && step(1, "Month after")),
    make("dl.numbers", {}, numbers),
    usage.forecast?.cost_usd ? expected(usage.forecast) : null,
    days(usage.by_day),
    usage.by_model.length ? make("div.panel", {}, make("table", {}, usage.by_model.map(model))) : null,
  );
}

/** What the month comes to, if it goes on like this. */
function expected({ cost_usd: cost, basis, limit_reached_on: reached }) {
  const total = `About ${money(Number(cost))} by the end of the month`;
  const limit = reached ? `; at this rate the limit is reached on ${date(reached)}` : "";
  return make("p", { title: basis }, `${total}${limit}.`);
}

function number(label, value, say, limit = null) {
  const told = [make("strong", {}, say(value))];
  if (limit !== null) {
    const name = `${label}: share of the limit`;
    told.push(make(value >= limit ? "progress.full" : "progress", { max: limit || 1, value: Math.min(value, limit || 1), "aria-label": name }), make("small", {}, `of ${say(limit)}`));
  }
  return make("div.panel", {}, make("dt", {}, label), make("dd", {}, told));
}

/** A bar for each day: what models cost, or where nothing costs anything how many pictures came. */
function days(each) {
  const costly = each.some(({ cost_usd: cost }) => Number(cost));
  const values = each.map(({ cost_usd: cost, added }) => (costly ? Number(cost) : added.items));
  const said = (value) => (costly ? money(value) : count(value, "picture"));
  const most = Math.max(...values);
  if (!most) return make("p.quiet", {}, "Nothing happened in this month.");
  const bars = each.map(({ day }, place) => {
    const bar = make("li", { title: `${date(day)}: ${said(values[place])}` });
    bar.style.setProperty("--share", `${(100 * values[place]) / most}%`);
    return bar;
  });
  const label = `${costly ? "Cost" : "Pictures added"} by day; the most on ${date(each[values.indexOf(most)].day)}: ${said(most)}`;
  return make("div.panel", {}, make("ul.days", { role: "img", "aria-label": label }, bars), make("p.quiet", {}, label));
}

function model({ provider, model: name, calls, cost_usd: cost }) {
  const figures = [count(calls, "call"), money(Number(cost))].map((text) => make("td.figure", {}, text));
  return make("tr", {}, make("th", { scope: "row" }, `${name} (${provider})`), figures);
}
