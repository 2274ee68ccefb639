// Signing in: the authorization code flow with PKCE at the sign-in page of the user pool (RFC 7636), and tokens.
//
// Tokens are kept in sessionStorage: of this tab and origin only, gone when the tab is closed, and there after a reload.
// A script of somebody else could read them there, as it could call the API with a cookie; so none can run:
// the policy allows scripts of this origin only, the page has no dependencies, and text never becomes HTML.

import { Problem } from "./problem.js";

const TOKENS = "magpie.tokens";
const ASKED = "magpie.asked";
const EARLY_SECONDS = 60; // a token is renewed this long before its end

let settings; // {region, user_pool_id, client_id, hosted_ui}
let renewal = null; // one at a time, whoever needs it

const stored = (name) => JSON.parse(sessionStorage.getItem(name) ?? "null");

/**
 * Find out whether somebody is signed in, and finish a sign-in that comes back here.
 * @returns {Promise<boolean>}
 * @throws {Problem} the sign-in was refused
 */
export async function begin() {
  const answer = await fetch("/version").catch(() => null);
  if (!answer?.ok) throw refused("Magpie cannot be reached. Look at your connection, and load this page again.");
  settings = (await answer.json()).sign_in;
  const back = new URLSearchParams(location.search);
  if (back.has("code") || back.has("error")) await finish(back);
  return Boolean(stored(TOKENS));
}

/** Leave for the sign-in page. */
export async function signIn() {
  if (!settings) return location.reload();
  if (!settings.hosted_ui) throw refused("This deployment has no sign-in page, because AllowedOrigins is empty.");
  const verifier = random();
  const state = random();
  sessionStorage.setItem(ASKED, JSON.stringify({ state, verifier, hash: location.hash }));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: settings.client_id,
    redirect_uri: location.origin,
    scope: "openid email",
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${settings.hosted_ui}/oauth2/authorize?${query}`);
}

/** Forget the tokens here and there, and leave by the sign-in page's own door. */
export async function signOut() {
  const tokens = stored(TOKENS);
  sessionStorage.clear();
  if (tokens?.refresh_token) {
    await post("/oauth2/revoke", { token: tokens.refresh_token }).catch(() => null); // they are gone from here either way
  }
  const query = new URLSearchParams({ client_id: settings.client_id, logout_uri: location.origin });
  location.assign(`${settings.hosted_ui}/logout?${query}`);
}

/**
 * A token that is good for another minute.
 * @param {boolean} renew also where the present one seems good, because the API refused it
 * @throws {Problem} with status 401, nobody is signed in any more
 */
export async function token(renew = false) {
  const tokens = stored(TOKENS);
  if (!tokens) throw signedOut();
  if (!renew && tokens.until > Date.now() / 1000 + EARLY_SECONDS) return tokens.access_token;
  renewal ??= refresh(tokens).finally(() => (renewal = null));
  return renewal;
}

/** The e-mail address that signed in, as its own token says: for showing, and for nothing else. */
export function email() {
  try {
    const [, claims] = (stored(TOKENS)?.id_token ?? "").split(".");
    const bytes = Uint8Array.from(atob(claims.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).email ?? null;
  } catch {
    return null;
  }
}

export const forgetTokens = () => sessionStorage.removeItem(TOKENS);

/** Forget tokens that nobody takes any more, and have the page say so. */
export function signedOut() {
  forgetTokens();
  document.dispatchEvent(new Event("signed-out"));
  return new Problem({ status: 401, title: "You are signed out", detail: "Sign in again to go on." });
}

async function finish(back) {
  const asked = stored(ASKED);
  sessionStorage.removeItem(ASKED);
  history.replaceState(null, "", location.pathname + (asked?.hash ?? ""));
  if (back.has("error")) throw refused(back.get("error_description") ?? back.get("error"));
  if (stored(TOKENS) && !asked) return; // the browser's way back led here again
  if (!asked || back.get("state") !== asked.state) throw refused("It was not begun in this tab.");
  const proof = { code: back.get("code"), redirect_uri: location.origin, code_verifier: asked.verifier };
  const answer = await post("/oauth2/token", { grant_type: "authorization_code", ...proof });
  if (!answer.ok) throw refused("The sign-in page did not confirm it.");
  keep(await answer.json());
}

async function refresh(tokens) {
  const answer = await post("/oauth2/token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token });
  if (answer.status >= 500 || answer.status === 429) throw unreachable();
  if (!answer.ok) throw signedOut();
  keep({ ...tokens, ...(await answer.json()) }); // a refreshed answer has no refresh token of its own
  return stored(TOKENS).access_token;
}

async function post(path, form) {
  try {
    const body = new URLSearchParams({ client_id: settings.client_id, ...form });
    return await fetch(settings.hosted_ui + path, { method: "POST", body, credentials: "omit" });
  } catch {
    throw unreachable();
  }
}

function keep(answer) {
  const { access_token, id_token, refresh_token } = answer;
  const until = Date.now() / 1000 + answer.expires_in;
  sessionStorage.setItem(TOKENS, JSON.stringify({ access_token, id_token, refresh_token, until }));
}

const unreachable = () => new Problem({ title: "The sign-in page cannot be reached", detail: "Try again in a moment." });
const refused = (why) => new Problem({ title: "You could not be signed in", detail: why });
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
