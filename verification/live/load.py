"""People and WhatsApp at work on the console: what each request came to, and what they were promised."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import new as hmac
from itertools import cycle
from typing import Any
from uuid import uuid4

import requests
from bs4 import BeautifulSoup

from testkit.factories import payload
from testkit.pages import fields_of

PUBLIC = "https://console.example.org"
OWN_PORT = "http://127.0.0.1:8000"
PATIENCE_SECONDS = 90
PROBE_PATIENCE_SECONDS = 30
PAUSE_SECONDS = 0.2
REASON = "said so on the phone"
EXPECTED = {"link": 303, "message": 200, "page": 200, "healthz": 200, "readyz": 200, "metrics": 200}


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: what for, when it was sent, how long it took, and its status (0: no answer)."""

    kind: str
    sent_at: float
    seconds: float
    status: int

    @property
    def good(self) -> bool:
        """Say whether it is what a healthy console answers."""
        return self.status == EXPECTED[self.kind]


@dataclass
class Load:
    """Everyone at work, until told to stop."""

    certificate: str
    secret: str
    account: str
    answers: list[Answer] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    """The operation ids of the link writes that were acknowledged."""
    messages: set[str] = field(default_factory=set)
    """The ids of the messages that were acknowledged."""
    problems: list[str] = field(default_factory=list)
    """What should not have been seen."""
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, *work: Callable[[], None]) -> None:
        """Let each of these work in a thread of its own."""
        for function in work:
            self.threads.append(threading.Thread(target=self._guarded, args=(function,)))
            self.threads[-1].start()

    def stop(self) -> None:
        """Stop everyone once they have what they asked for."""
        self.over.set()
        for thread in self.threads:
            thread.join()

    def during(self, start: float, end: float, *kinds: str) -> list[Answer]:
        """Return the answers to what was sent in a span of time, of these kinds or of all."""
        return [
            it for it in list(self.answers) if start <= it.sent_at <= end and (not kinds or it.kind in kinds)
        ]

    def probe(self, kind: str, address: str, pause: float, **headers: str) -> Callable[[], None]:
        """Return the work of asking for one address again and again, on a new connection each time."""

        def work() -> None:
            while not self.over.wait(pause):
                with self._session() as session:
                    self._ask(kind, session, "GET", address, timeout=PROBE_PATIENCE_SECONDS, headers=headers)

        return work

    def send_messages(self) -> None:
        """Send one message after the other as WhatsApp does; one that isn't acknowledged is sent again."""
        with self._session() as session:
            for number in cycle(range(50)):
                external_id = f"wamid.{uuid4().hex}"
                body = payload(self.account, f"3934000000{number:02}", external_id=external_id).encode()
                signature = hmac(self.secret.encode(), body, sha256).hexdigest()
                headers = {"X-Hub-Signature-256": f"sha256={signature}"}
                for status in self._until_answered("message", session, "/webhooks/whatsapp", body, headers):
                    if status == 200:
                        self.messages.add(external_id)
                if self.over.wait(PAUSE_SECONDS):
                    return

    def link(self, email: str, password: str, work_on: list[tuple[str, str]]) -> None:
        """Sign in as an operator; link and unlink conversations, each given with a customer, by turns."""
        with self._session() as session:
            self._sign_in(session, email, password)
            for conversation_id, customer_id in cycle(work_on):
                self._change(session, f"/links/{conversation_id}", customer_id)
                if self.over.wait(PAUSE_SECONDS):
                    return

    def _sign_in(self, session: requests.Session, email: str, password: str) -> None:
        login = f"{PUBLIC}/login"
        status = 429
        while status == 429 and not self.over.wait(
            PAUSE_SECONDS
        ):  # the console hashes one password at a time
            form = fields_of(BeautifulSoup(session.get(login).text, "html5lib").select("form")[-1])
            fields = {**form, "email": email, "password": password}
            status = session.post(login, fields, allow_redirects=False).status_code
        if status != 303:
            self.problems.append(f"signing in: {status}")

    def _change(self, session: requests.Session, path: str, customer_id: str) -> None:
        page = None
        while page is None:
            page = self._ask("page", session, "GET", PUBLIC + path, timeout=PATIENCE_SECONDS)
            if page is None or page.status_code != 200:
                page = None
                if self.over.wait(PAUSE_SECONDS):
                    return
        soup = BeautifulSoup(page.text, "html5lib")
        unlink = soup.select_one(f'form[method=post][action="{path}/unlink"]')
        form = unlink or soup.select_one(f'form[method=post][action="{path}"]')
        if form is None:
            self.problems.append(f"{path} has no form")
            return
        opened = fields_of(form)
        fields = {name: opened[name] for name in ("csrf_token", "seen_version", "operation_id")}
        fields |= {"confirm": "1"} if unlink else {"customer_id": customer_id}
        target = f"{path}/unlink" if unlink else path
        for status in self._until_answered("link", session, target, {**fields, "reason": REASON}):
            if status == 303:
                self.links.add(opened["operation_id"])
            elif status not in (0, 503):
                self.problems.append(f"{status} for {target}")

    def _until_answered(
        self,
        kind: str,
        session: requests.Session,
        path: str,
        body: Any,
        headers: dict[str, str] | None = None,
    ) -> Iterator[int]:
        """Send the same request until it is answered for good; give each status. It goes on until then."""
        while True:
            how = {"data": body, "headers": headers, "timeout": PATIENCE_SECONDS}
            answer = self._ask(kind, session, "POST", PUBLIC + path, **how)
            status = answer.status_code if answer is not None else 0
            yield status
            if status not in (0, 500, 502, 503) or self.over.is_set():
                return
            time.sleep(PAUSE_SECONDS)

    def _ask(
        self, kind: str, session: requests.Session, method: str, address: str, **how: Any
    ) -> requests.Response | None:
        sent_at = time.monotonic()
        answer = None
        try:
            answer = session.request(method, address, allow_redirects=False, **how)
        except requests.RequestException:
            session.close()  # a connection that failed is not used again
        status = answer.status_code if answer is not None else 0
        self.answers.append(Answer(kind, sent_at, time.monotonic() - sent_at, status))
        return answer

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = self.certificate
        return session

    def _guarded(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # a thread that ends would count as no failure
            self.problems.append(f"{function}: {error!r}")


def summary(answers: list[Answer]) -> str:
    """Return how often each status came, for people: `303 ×12, none ×1`."""
    counted = Counter(it.status or "none" for it in answers)
    return ", ".join(f"{status} ×{count}" for status, count in sorted(counted.items(), key=str))


def operation_ids(exported: str) -> Counter[str]:
    """Return how often each operation id, which is its event's id, is in an export of the trail."""
    return Counter(json.loads(line)["event_id"] for line in exported.splitlines())
