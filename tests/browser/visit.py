"""One tab: what somebody does in it, and what should not have happened."""

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, expect

READY = ".cards li:not(:has(.moving)):has(img)"
"""A card whose picture has come to its end."""


class Visit:
    """A tab with the page in it.

    Attributes:
        faults: errors of the console and of scripts, violations of the policy, requests to elsewhere.
        expected: parts of faults that a test brings about on purpose.
        warnings: how often the page asked not to be left.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.expected: tuple[str, ...] = ()
        self.warnings = 0
        self._seen: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._seen.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("dialog", self._dialog)

    @property
    def faults(self) -> list[str]:
        return [fault for fault in self._seen if not any(part in fault for part in self.expected)]

    def _dialog(self, dialog: Dialog) -> None:
        if dialog.type == "beforeunload":
            self.warnings += 1
            dialog.accept()
        else:  # what hostile text would open, if it ran
            self._seen.append(f"dialog: {dialog.message}")
            dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium tells of a broken policy here too.
        if message.type in ("error", "warning"):
            self._seen.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.hostname != "127.0.0.1":
            self._seen.append(f"request to {request.url}")

    def sign_in(self, email: str) -> None:
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name=f"Continue as {email}").click()
        expect(self.page.get_by_role("main")).to_be_visible()

    def cards(self) -> Locator:
        return self.page.locator(".cards .card")

    def card(self, name: str) -> Locator:
        return self.cards().filter(has_text=name)

    def search(self, words: str) -> None:
        self.page.keyboard.press("/")
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", name="Found for")).to_contain_text(words)

    def open(self, name: str) -> Locator:
        """Open a picture, and return its dialog once all is known of it."""
        self.card(name).first.click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        return dialog
