// Look again and again at what changes by itself: soon at first, then less and less often, never in a hidden tab.

const FIRST_MS = 700;
const LAST_MS = 15_000;
const QUIET_LOOKS = 40; // unchanged for some nine minutes: it is stuck, or takes longer than anybody watches

/**
 * @param {() => Promise<{moving: boolean, news: boolean}>} look whether anything still moves, and whether something did
 * @returns {{start: () => void}} starts it, or makes it look soon again
 */
export function watch(look) {
  let wait;
  let quiet;
  let timer = null;
  let looking = false;

  function start() {
    wait = FIRST_MS;
    quiet = 0;
    if (looking) return;
    clearTimeout(timer);
    timer = setTimeout(tick, wait);
  }

  async function tick() {
    timer = null;
    if (document.hidden) return; // goes on when it is shown again
    looking = true;
    const { moving, news } = await look().catch(() => ({ moving: true, news: false }));
    looking = false;
    wait = news ? FIRST_MS : Math.min(LAST_MS, wait * 1.4);
    quiet = news ? 0 : quiet + 1;
    if (moving && quiet < QUIET_LOOKS) timer = setTimeout(tick, wait);
  }

  document.addEventListener("visibilitychange", () => !document.hidden && wait && start());
  return { start };
}
