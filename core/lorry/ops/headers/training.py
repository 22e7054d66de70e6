"""What a header tells of how something was trained, where no tensor shows it.

Entries ss_*: sd-scripts train_network.py; modelspec.*: github.com/Stability-AI/ModelSpec.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

_SCHEDULER = Path("scheduler", "scheduler_config.json")
_LONGEST = 80
_RESOLUTION = re.compile(r"\(?(\d+), *(\d+)\)?")


def algorithm(metadata: Mapping[str, str]) -> str:
    """Return what the trainer's module made: "networks.lora_fa", or "lokr (lycoris.kohya)" where it has several."""
    module = metadata.get("ss_network_module", "")[:_LONGEST]
    named = _entries(metadata.get("ss_network_args", "")).get("algo")
    return f"{named[:_LONGEST]} ({module})" if module and isinstance(named, str) else module


def prediction(metadata: Mapping[str, str]) -> str:
    """Return what the model predicts, as ModelSpec calls it: "epsilon", "v", or "" where the header does not say."""
    told = metadata.get("modelspec.prediction_type", "").lower()[:_LONGEST]
    trained = {"true": "v", "false": "epsilon"}.get(metadata.get("ss_v_parameterization", "").lower(), "")
    return told.removesuffix("_prediction") or trained


def scheduled_prediction(folder: Path) -> str:
    """Return what the scheduler of a diffusers folder takes the model to predict, "" where there is none that says."""
    try:
        text = (folder / _SCHEDULER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    told = _entries(text).get("prediction_type")
    return prediction({"modelspec.prediction_type": told}) if isinstance(told, str) else ""


def date(metadata: Mapping[str, str]) -> str:
    """Return when training ended, else when it began, by ISO 8601 in UTC; "" where the header does not say."""
    for key in ("ss_training_finished_at", "ss_training_started_at"):
        try:
            seconds = float(metadata.get(key, ""))
            if math.isfinite(seconds) and seconds > 0:
                return datetime.fromtimestamp(int(seconds), UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            continue
    return ""


def resolution(metadata: Mapping[str, str]) -> str:
    """Return the resolution of training as "768x768", "" where the header does not say."""
    found = _RESOLUTION.fullmatch(metadata.get("ss_resolution", "").strip())
    return f"{found[1]}x{found[2]}" if found else ""


def _entries(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
