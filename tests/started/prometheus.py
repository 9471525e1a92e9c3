"""Asks a running Prometheus."""

from typing import Any

import httpx2


class Prometheus:
    """The HTTP API of the Prometheus at a port of this machine."""

    def __init__(self, port: int) -> None:
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def query(self, expression: str) -> list[Any]:
        """Return the series of an instant query; fail if it is not valid."""
        answer = self._http.get("/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[Any] = answer["data"]["result"]
        return found

    def healthy_rules(self) -> set[str]:
        """Return the names of all rules, or nothing until each was evaluated; fail on an error."""
        groups = self._http.get("/rules").json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert all(rule["health"] != "err" for rule in rules), rules
        is_evaluated = all(rule["health"] == "ok" for rule in rules)
        return {rule["name"] for rule in rules} if is_evaluated else set()

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """Return the labels of the alerts that fire, by name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in self._http.get("/alerts").json()["data"]["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found
