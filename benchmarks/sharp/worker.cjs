// Render each picture named on stdin by sharp, and say what it took: one JSON document a line.
// The chain is sharp's best for two derivatives: one decode, the thumbnail made of the web image's pixels.
// Arguments: where sharp is installed, and whether Huffman tables are made for each picture.
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const sharp = require(path.join(process.argv[2], "node_modules", "sharp"));
const optimiseCoding = process.argv[3] === "optimised";
sharp.concurrency(1); // one processor, as a Lambda of 1,769 MB has
sharp.cache(false); // no picture comes twice

async function render(file) {
  const { data, info } = await sharp(file, { limitInputPixels: 64_000_000 })
    .autoOrient()
    .resize(2048, 2048, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "#ffffff" })
    .raw()
    .toBuffer({ resolveWithObject: true });
  const pixels = { raw: { width: info.width, height: info.height, channels: info.channels } };
  const image = await sharp(data, pixels).jpeg({ quality: 85, optimiseCoding }).toBuffer();
  const thumbnail = await sharp(data, pixels)
    .resize(512, 512, { fit: "inside", withoutEnlargement: true })
    .webp({ quality: 80, effort: 2 })
    .toBuffer();
  return { image, thumbnail };
}

function kilobytes(name) {
  const found = fs.readFileSync("/proc/self/status", "utf8").match(new RegExp(`${name}:\\s+(\\d+) kB`));
  return Number(found[1]);
}

async function answer(asked) {
  const idle = kilobytes("VmRSS");
  const cpu = process.cpuUsage();
  const began = performance.now();
  const { image, thumbnail } = await render(asked.path);
  const wall = performance.now() - began;
  const used = process.cpuUsage(cpu);
  if (asked.keep) {
    fs.writeFileSync(`${asked.keep}.jpg`, image);
    fs.writeFileSync(`${asked.keep}.webp`, thumbnail);
  }
  return {
    cpu_ms: (used.user + used.system) / 1000,
    wall_ms: wall,
    peak_mb: (kilobytes("VmHWM") - idle) / 1024,
    image_bytes: image.length,
    thumbnail_bytes: thumbnail.length,
  };
}

async function main() {
  console.log(JSON.stringify({ version: `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}` }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    console.log(JSON.stringify(await answer(asked).catch((error) => ({ error: error.message }))));
  }
}

main();
