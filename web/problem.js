// What went wrong, as RFC 9457 tells it.

export class Problem extends Error {
  constructor({ status = 0, type = "", title, detail = "", correlation_id = null, errors = [] }) {
    super(detail || title);
    Object.assign(this, { status, type, title, detail, errors, correlationId: correlation_id });
  }

  /** Whether it is one of the API's kinds. */
  is(kind) {
    return this.type === `urn:problem-type:magpie:${kind}`;
  }
}
