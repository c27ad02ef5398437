"""A page in headless Chromium that can reach this machine only, and what went wrong in it."""

import contextlib
import functools
import shutil
import threading
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOOPBACK = "127.0.0.1"


@dataclass
class Visit:
    """A page of a site that is served on loopback.

    Attributes:
        page: Playwright's.
        address: of the site's folder.
        problems: errors of the console and of scripts, failed requests, and requests to other machines.
    """

    page: object
    address: str
    problems: list[str] = field(default_factory=list)

    def open(self, path):
        """Load a path of the site anew and wait until it has what it wants."""
        self.page.goto("about:blank")  # a new `#` alone would not load the page again
        self.page.goto(self.address + path)
        self.page.wait_for_load_state("networkidle")

    def watch(self):
        """Note from now on whatever goes wrong."""
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def _request(self, request):
        if urlsplit(request.url).hostname != LOOPBACK:
            self.problems.append(f"remote: {request.url}")

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # which the next page does to what this one still loads
            self.problems.append(f"failed: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")


@contextlib.contextmanager
def visit(folder, **screen):
    """A visit of the site in a folder; `screen` goes to Playwright's `new_page`."""
    reason = "needs the Python package playwright (installed by `nox -s tests`)"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    if CHROMIUM is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    # A browser that could resolve names might hide a request that only fails for lack of a network.
    nothing_else = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}"
    with _served(folder) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[nothing_else])
        try:
            made = Visit(browser.new_page(**screen), address)
            made.page.set_default_timeout(10_000)
            made.watch()
            yield made
        finally:
            browser.close()


@contextlib.contextmanager
def _served(folder):
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""
