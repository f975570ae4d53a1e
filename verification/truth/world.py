"""The people of the world and what they do in simulated years, from one seed."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from zoneinfo import ZoneInfo

from verification.truth import network
from verification.truth.clock import Clock
from verification.truth.network import Sent
from verification.truth.truth import CUSTOMER, INSTRUCTOR, WHATSAPP, Instructor, Message, Truth

START = datetime(2024, 1, 8, 8, 0, tzinfo=UTC)
YEARS = 3
ROME = ZoneInfo("Europe/Rome")

FIRST_NAMES = (
    "Giulia",
    "Luca",
    "Sara",
    "Marco",
    "Ann",
    "Jörg",
    "Zoë",
    "Paolo",
    "Rita",
    "Ivo",
    "Nora",
    "Søren",
)
LAST_NAMES = ("Esempio", "Muster", "Example", "Prova", "d'Esempio", "Beispiel")
SAYINGS = (
    "Buongiorno, c'è posto sabato?",
    "Sì, alle 10",
    "Grazie mille 🙏",
    "<b>Non</b> è grassetto & non lo sarà",
    "Arrivo tra 5 min",
    "Ci vediamo ieri… anzi, domani",
    "Linked to no customer",
    "You: questo l'ho scritto io",
    "Two lines,\nof one message",
    "العربية من اليمين",
    "   spazi   intorno   ",
    "Ok",
)
KINDS = ("text",) * 14 + (
    "image",
    "video",
    "document",
    "button",
    "interactive",
    "audio",
    "sticker",
    "location",
)
WITHOUT_BODY = ("audio", "sticker", "location")


@dataclass(eq=False)
class Person:
    """Someone who writes to instructors, under a number that may change and a user id for each instructor."""

    name: str
    number: str
    instructors: list[Instructor]
    user_ids: dict[Instructor, str] = field(default_factory=dict)
    is_hidden: bool = False
    eagerness: float = 1

    def sends_as(self, instructor: Instructor) -> tuple[str | None, str | None]:
        """Return the number and the user id that an instructor is told."""
        return None if self.is_hidden else self.number, self.user_ids.get(instructor)

    def identifier(self, instructor: Instructor) -> str:
        """Return what names this person to an instructor."""
        number, user_id = self.sends_as(instructor)
        return number or user_id or ""


@dataclass(frozen=True)
class Size:
    """How large a world is."""

    people: int
    messages: int
    instructors: int


class World:
    """People and WhatsApp, in time. `delivery` takes a payload and says whether the console took it."""

    def __init__(self, seed: int, size: Size, delivery: Callable[[bytes], bool]) -> None:
        self.rng = Random(seed)
        self.size = size
        self.clock = Clock(START)
        self.truth = Truth()
        self.delivered = 0
        self.figures = dict.fromkeys(("payloads", "repeats", "late", "refused", "statements"), 0)
        self._delivery = delivery
        self._numbers = count(1)
        self._ids = count(1)
        self._free_numbers: list[str] = []
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = count()
        self._mean_gap = timedelta(days=365 * YEARS * size.people * 6 / max(1, size.messages))
        self.written = 0

    def begin(self) -> None:
        """Let everyone be born, and schedule what is certain: nights on which clocks change, midnights."""
        people = [self._person() for _ in range(self.size.people)]
        people[0].eagerness = 20
        people[0].instructors = people[0].instructors[:1]
        for person in people:
            self._at(START + self._some(timedelta(days=90)), partial(self._burst, person))
        for number, person in enumerate(people[1:5], 1):  # some of everything, however small the world
            self._at(START + timedelta(days=12 * number), partial(self._change_number, person))
        for night in clock_changes():
            for person in self.rng.sample(people, min(len(people), max(2, len(people) // 100))):
                moment = night + timedelta(minutes=self.rng.uniform(-180, 180))
                self._at(moment, partial(self._talk, person))

    def steps(self) -> Iterator[int]:
        """Live: yield after each event how many messages were delivered so far."""
        while self._events and self.written < self.size.messages:
            moment, _, happen = heapq.heappop(self._events)
            self.clock.move_to(moment)
            happen()
            yield self.delivered
        self._mean_gap = timedelta(days=36500)
        while self._events:  # what is still on its way
            moment, _, happen = heapq.heappop(self._events)
            if getattr(happen, "is_delivery", False):
                self.clock.move_to(moment)
                happen()
                yield self.delivered

    def _at(self, moment: datetime, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happen))

    def _some(self, most: timedelta) -> timedelta:
        return most * self.rng.random()

    def _person(self) -> Person:
        rng = self.rng
        name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
        instructors = rng.sample(
            self.truth.instructors, min(len(self.truth.instructors), rng.choice((1, 1, 1, 2, 3)))
        )
        person = Person(name, self._number(), instructors)
        if rng.random() < 0.5:
            person.user_ids = {instructor: self._user_id() for instructor in instructors}
        return person

    def _number(self) -> str:
        """Return a number: now and then one that another person had before, or shares, or a short code."""
        luck = self.rng.random()
        if self._free_numbers and luck < 0.3:
            return self._free_numbers.pop(self.rng.randrange(len(self._free_numbers)))
        number = next(self._numbers)
        if luck < 0.32:
            return f"4{number:04}"
        return f"{self.rng.choice(('4477009', '393330', '120255', '336399'))}{number:05}"

    def _user_id(self) -> str:
        return f"IT.{self.rng.randrange(10**11, 10**12)}{next(self._numbers):06}"

    def _burst(self, person: Person) -> None:
        """Let a person live a little: now and then something changes, then they write; later again."""
        luck = self.rng.random()
        if luck < 0.03:
            self._change_number(person)
        elif luck < 0.05 and person.user_ids:
            person.is_hidden = not person.is_hidden
        elif luck < 0.06:
            self._free_numbers.append(person.number)  # shared from now on, or lent
        self._talk(person)
        gap = self._mean_gap * self.rng.expovariate(1) / person.eagerness
        if self.rng.random() < 0.02:
            gap += timedelta(days=self.rng.uniform(200, 700))  # silent, and back in another year
        self._at(self.clock.now + gap, partial(self._burst, person))

    def _change_number(self, person: Person) -> None:
        old_number, old_ids = person.number, dict(person.user_ids)
        person.number = self._number()
        person.user_ids = {instructor: self._user_id() for instructor in person.user_ids}
        self._free_numbers.append(old_number)
        for instructor in person.instructors:
            if self.rng.random() < 0.2:
                continue  # WhatsApp doesn't always say
            old = old_ids[instructor] if person.is_hidden else old_number
            new = person.user_ids[instructor] if person.is_hidden else person.number
            body = f"User {person.name} changed from {old} to {new}"
            message = self._message(WHATSAPP, "system", body, self.clock.now)
            self.figures["statements"] += 1
            self._send([network.statement(instructor, message, old=old, new=new)])

    def _talk(self, person: Person) -> None:
        """Let a person and an instructor write to each other for some minutes."""
        rng = self.rng
        instructor = rng.choice(person.instructors)
        moment = self.clock.now
        sent = []
        standby = rng.random() < 0.1
        identifier = person.identifier(instructor)
        for _ in range(rng.randint(1, 11)):
            moment += timedelta(seconds=rng.choice((0, 1, 5, 30, 60, 300)))
            kind = rng.choice(KINDS)
            body = None if kind in WITHOUT_BODY else rng.choice(SAYINGS)
            if rng.random() < 0.6:
                number, user_id = person.sends_as(instructor)
                message = self._message(CUSTOMER, kind, body, moment)
                sent.append(
                    network.customer_message(
                        instructor, message, number=number, user_id=user_id, name=person.name, standby=standby
                    )
                )
            elif identifier:
                kind = "text" if kind in ("button", "interactive") else kind
                message = self._message(INSTRUCTOR, kind, body or "Ok" if kind == "text" else body, moment)
                way = "agent" if standby else rng.choice(("phone", "phone", "program"))
                sent.append(network.echo(instructor, message, to=identifier, way=way))
        self._send(sent)

    def _message(self, author: str, kind: str, body: str | None, sent_at: datetime) -> Message:
        self.written += 1
        whole_second = sent_at.replace(microsecond=0)
        return Message(f"wamid.{next(self._ids):08}", author, kind, body, whole_second)

    def _send(self, sent: Sequence[Sent]) -> None:
        """Let WhatsApp deliver messages in batches: some late, some twice, some out of order."""
        rng, rest = self.rng, list(sent)
        if rng.random() < 0.1:
            rng.shuffle(rest)
        while rest:
            size = rng.choice((1, 2, 4, 12))
            batch, rest = rest[:size], rest[size:]
            last = max(item.message.sent_at for item in batch)
            moment = max(last, self.clock.now) + timedelta(seconds=rng.uniform(1, 4))
            if rng.random() < 0.04:
                moment += self._some(timedelta(days=3))
                self.figures["late"] += 1
            extra = [network.noise(rng, batch[0].instructor, next(self._ids))] if rng.random() < 0.1 else []
            raw = network.payload(batch, noise=extra)
            self._deliver_at(moment, raw, batch)
            if rng.random() < 0.04:
                self.figures["repeats"] += 1
                self._deliver_at(moment + self._some(timedelta(hours=20)), raw, batch)

    def _deliver_at(self, moment: datetime, raw: bytes, batch: Sequence[Sent]) -> None:
        def deliver() -> None:
            self.figures["payloads"] += 1
            if not self._delivery(raw):  # WhatsApp sends again what wasn't acknowledged
                self.figures["refused"] += 1
                self._deliver_at(self.clock.now + timedelta(minutes=self.rng.uniform(5, 60)), raw, batch)
                return
            for item in batch:
                self.truth.receive(item.instructor, item.identifier, item.normalized, item.message)
            self.delivered = len(self.truth.stored)

        deliver.is_delivery = True  # type: ignore[attr-defined]
        self._at(moment, deliver)


def clock_changes() -> list[datetime]:
    """Return the moments of these years at which Rome's clocks change."""
    hours = (START + timedelta(hours=number) for number in range(24 * 365 * YEARS))
    return [
        hour
        for hour in hours
        if hour.astimezone(ROME).utcoffset() != (hour - timedelta(hours=1)).astimezone(ROME).utcoffset()
    ]
