"""Serving by real servers: every visit is a request to the transformer, every exposure one that it recorded."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import orjson
from prometheus_client.parser import text_string_to_metric_families

from models.experiments.assignment import Assignment
from models.experiments.events import EXPOSURE_TYPE, Exposure, pseudonym
from serving.replay.by_table import is_lost, placed
from serving.replay.catalogue import Catalogue
from serving.replay.live.cluster import LocalCluster
from serving.replay.live.relay import Relay, exposures, pass_on
from serving.replay.live.servers import KEY, Collector
from serving.replay.population import DAY, SEEN, Ints, Users, Visits
from serving.replay.scores import CONTEXT
from serving.replay.served import CANDIDATE, OUTSIDE, STABLE, Served
from serving.replay.story import Fault, Story
from serving.replay.terms import MODEL, START
from serving.stack.errors import StackError
from training.demo.world import SEGMENTS

PER_CALL = 8
"""Instances of a V1 call."""
AT_ONCE = 2
PATIENCE_SECONDS = 30.0
_BATCH = 1000


class LiveServing:
    """Asks the transformer in front of `cluster`; passes exposures on to `collector`."""

    def __init__(
        self,
        story: Story,
        catalogue: Catalogue,
        users: Users,
        visits: Visits,
        cluster: LocalCluster,
        relay: Relay,
        collector: Collector,
    ) -> None:
        self._story, self._catalogue, self._users, self._visits = story, catalogue, users, visits
        self._cluster, self._relay, self._collector = cluster, relay, collector
        self._places = {item: place for place, item in enumerate(catalogue.ids)}
        self._names = {pseudonym(KEY.encode(), user): user for user in users.ids}
        self._client = httpx.Client(timeout=PATIENCE_SECONDS, trust_env=False)

    def serve(self, which: slice, assignment: Assignment | None) -> Served:
        """Rank for the visits `which`. Raises StackError when a server does not do its part."""
        self._wait_for(assignment)
        numbers = list(range(which.start, which.stop))
        calls = [numbers[at : at + PER_CALL] for at in range(0, len(numbers), PER_CALL)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = [answer for call in pool.map(self._call, calls) for answer in call]
        shown = np.array([[self._places[item] for item in answer] for answer in answers], dtype=np.int64)
        arms = np.array([placed(assignment, self._users.ids[self._visits.user[number]]) for number in numbers])
        return self._with_exposures(numbers, shown.reshape(len(numbers), SEEN), arms.astype(np.int64))

    def outcomes(self, which: slice, clicks: Ints) -> None:
        """Tell the collector what users did: one event a visit, its value the number of clicks."""
        url = f"{self._collector.url}/v1/outcomes"
        headers = _JSON | {"authorization": f"Bearer {self._collector.tokens['outcomes']}"}
        events = [
            {
                "id": f"click-{number}",
                "time": START.timestamp() + float(self._visits.time[number]) + 30.0,
                "user": self._users.ids[self._visits.user[number]],
                "event": "click",
                "value": int(count),
            }
            for number, count in zip(range(which.start, which.stop), clicks.tolist(), strict=True)
            if count
        ]
        for at in range(0, len(events), _BATCH):
            answer = self._client.post(url, content=orjson.dumps(events[at : at + _BATCH]), headers=headers)
            if answer.status_code != httpx.codes.OK:
                raise StackError(f"POST {url}: {answer.status_code} {answer.text[:1000]}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, numbers: Sequence[int]) -> list[list[str]]:
        url = f"{self._cluster.front.url}/v1/models/{MODEL}:predict"
        body = orjson.dumps({"instances": [self._instance(number) for number in numbers]})
        answer = self._client.post(url, content=body, headers=_JSON)
        if answer.status_code != httpx.codes.OK:
            raise StackError(f"POST {url}: {answer.status_code} {answer.text[:1000]}")
        predictions = orjson.loads(answer.content)["predictions"]
        return [[each["item_id"] for each in one["ranking"][:SEEN]] for one in predictions]

    def _instance(self, number: int) -> Mapping[str, Any]:
        user = self._visits.user[number]
        return {
            "user_id": self._users.ids[user],
            "user": {"segment": SEGMENTS[self._users.segment[user]]},
            "context": CONTEXT,
            "candidates": [{"item_id": self._catalogue.ids[item]} for item in self._visits.candidates[number]],
        }

    def _with_exposures(self, numbers: Sequence[int], shown: Ints, arms: Ints) -> Served:
        """Wait for the exposures of enrolled users, give them the visits' times, pass them on."""
        expected = int((arms != OUTSIDE).sum())
        by_user: dict[str, deque[Exposure]] = defaultdict(deque)
        for each in exposures(self._relay.take(expected, PATIENCE_SECONDS)):
            by_user[self._names[each.user]].append(each)
        recorded, failed = np.zeros(len(numbers), dtype=bool), np.zeros(len(numbers), dtype=bool)
        seconds, found = np.zeros(len(numbers)), []
        for place, number in enumerate(numbers):
            if arms[place] == OUTSIDE:
                continue
            user, moment = self._users.ids[self._visits.user[number]], float(self._visits.time[number])
            exposure = by_user[user].popleft()
            if exposure.arm != ("stable", "candidate")[arms[place]]:
                raise StackError(f"user {user} is placed in arm {arms[place]} and was recorded in {exposure.arm!r}")
            failed[place], seconds[place] = exposure.fallback is not None, exposure.seconds
            recorded[place] = not self._loses(user, moment, int(arms[place]))
            if recorded[place]:
                found.append(exposure.model_copy(update={"time": START.timestamp() + moment}))
        url, token = f"{self._collector.url}/v1/exposures", self._collector.tokens["exposures"]
        pass_on(self._client, url, token, found, EXPOSURE_TYPE)
        return Served(shown, arms, recorded, failed, seconds)

    def _loses(self, user: str, moment: float, arm: int) -> bool:
        deaf = self._story.fault is Fault.DEAF_LOGGER and moment >= self._story.fault_day * DAY
        return deaf and arm == CANDIDATE and is_lost(user)

    def _wait_for(self, assignment: Assignment | None) -> None:
        """Until the transformer follows this assignment. Raises StackError."""
        wanted = assignment.revision if assignment is not None else None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (followed := self._followed()) != wanted:
            if time.monotonic() > deadline:
                raise StackError(f"the transformer follows revision {followed} of the assignment, not {wanted}")
            time.sleep(0.05)

    def _followed(self) -> int | None:
        """The revision that the transformer says it follows; None for no assignment."""
        for name, value in self._metrics():
            if name == "sightline_assignment_revision" and value:
                return int(value)
        return None

    def _metrics(self) -> Iterator[tuple[str, float]]:
        text = self._client.get(f"{self._cluster.front.url}/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield sample.name, sample.value


_JSON = {"content-type": "application/json"}
assert (STABLE, CANDIDATE) == (0, 1), "places of the arms' names"
