// How things are said: sizes, dates, money, states.

const language = navigator.language || "en";
const number = new Intl.NumberFormat(language);
const written = (text, how) => new Intl.DateTimeFormat(language, how).format(new Date(text));

export const count = (value, one, many = `${one}s`) => `${number.format(value)} ${value === 1 ? one : many}`;
export const figure = (value) => number.format(value);
export const time = (text) => written(text, { dateStyle: "medium", timeStyle: "short" });

/** The day of a moment; a day without a time begins and ends in UTC. */
export const date = (text) => written(text, { dateStyle: "medium", timeZone: text.includes("T") ? undefined : "UTC" });
export const month = (text) => written(text, { month: "long", year: "numeric", timeZone: "UTC" });

/** Bytes as people say them, by thousands as disks are sold. */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; bytes >= 999.5 && place < units.length - 1; place += 1) bytes /= 1000;
  const digits = bytes < 100 && place ? 1 : 0;
  return `${number.format(bytes.toFixed(digits))} ${units[place]}`;
}

export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${number.format(Math.round(ms / 100) / 10)} s`;
}

/** US dollars; a call to a model costs less than a cent, and nothing is rounded to nothing. */
export function money(dollars) {
  const digits = dollars !== 0 && Math.abs(dollars) < 1 ? 4 : 2;
  const how = { style: "currency", currency: "USD", maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, how).format(dollars);
}

/** What a status means to whoever uploaded the picture; `moving` ones change by themselves. */
export const statuses = {
  pending: { label: "Waiting for the file", moving: true },
  processed: { label: "Being described", moving: true },
  analyzed: { label: "Nearly searchable", moving: true },
  ready: { label: "Ready", moving: false },
  rejected: { label: "Cannot be used", moving: false },
  failed: { label: "Not described", moving: false },
  over_quota: { label: "Waiting for room", moving: false },
};

/** What happened to a picture, by the word of its timeline; another word is said as it is. */
export const happened = {
  pending: "Asked for",
  imported: "Imported",
  processed: "Made smaller",
  analyzed: "Described",
  kept: "Not described again",
  ready: "Can be found",
  corrected: "Corrected",
  renamed: "Renamed",
  rejected: "Cannot be used",
  failed: "Not described",
  over_quota: "Waiting for room",
  resumed: "Goes on",
};

/** What a picture is called: as described, else by its file. */
export const title = (item) => item.headline || item.filename;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1).replaceAll("_", " ");
