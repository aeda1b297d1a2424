"""A model as plain parts: a spec that JSON can hold and arrays by name. What is stored, sent and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from beliefd import validation
from beliefd_proto.errors import InvalidModel

if TYPE_CHECKING:
    from beliefd.model import Model

FORMAT_VERSION = 1

OPTIONS = (
    "control_fac_idx",
    "gamma",
    "alpha",
    "use_utility",
    "use_states_info_gain",
    "inference_algo",
    "num_iter",
    "action_selection",
    "sampling_mode",
    "dtype",
)
"""The constructor arguments that a spec holds under their own names."""

_SPEC_KEYS = (*OPTIONS, "A_dependencies", "B_dependencies", "format")


def spec_of(model: Model) -> dict[str, Any]:
    spec: dict[str, Any] = {name: getattr(model, name) for name in OPTIONS}
    spec["control_fac_idx"] = list(model.control_fac_idx)
    spec["A_dependencies"] = [list(row) for row in model.A_dependencies]
    spec["B_dependencies"] = [list(row) for row in model.B_dependencies]
    spec["format"] = FORMAT_VERSION
    return spec


def tensors_of(model: Model) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for letter, arrays in (("A", model.A), ("B", model.B), ("C", model.C), ("D", model.D)):
        tensors.update({f"{letter}{i}": array for i, array in enumerate(arrays)})
    tensors["E"] = model.E
    tensors["policies"] = model.policies
    return tensors


def tensor_names(spec: Mapping[str, Any]) -> list[str]:
    """The names of the arrays that belong to a spec, in canonical order; refuses a spec that is not of this format."""
    if not isinstance(spec, Mapping):
        raise InvalidModel("not a mapping", field="spec", value=type(spec).__name__, allowed="what Model.spec() gives")
    if spec.get("format") != FORMAT_VERSION:
        raise InvalidModel(
            "unknown format version", field="format", value=spec.get("format"), allowed=str(FORMAT_VERSION)
        )
    _same_keys(spec, _SPEC_KEYS, "spec")
    modalities = len(validation.sequence(spec["A_dependencies"], "A_dependencies", longest=validation.MAX_MODALITIES))
    factors = len(validation.sequence(spec["B_dependencies"], "B_dependencies"))
    counts = (("A", modalities), ("B", factors), ("C", modalities), ("D", factors))
    return [f"{letter}{i}" for letter, count in counts for i in range(count)] + ["E", "policies"]


def arguments(spec: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments that make the model of these parts."""
    names = tensor_names(spec)
    _same_keys(tensors, names, "tensors")
    found: dict[str, Any] = {letter: [tensors[n] for n in names if n[0] == letter and n[1:]] for letter in "ABCD"}
    found |= {name: spec[name] for name in (*OPTIONS, "A_dependencies", "B_dependencies")}
    found |= {name: tensors[name] for name in ("E", "policies")}
    return found


def content_hash(spec: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256, hexadecimal, of canonical parts: the spec, then name, dtype, shape and bytes of each tensor in order."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode())
    for name, array in tensors.items():
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {little_endian.dtype.str} {array.shape}".encode())
        digest.update(little_endian.data)
    return digest.hexdigest()


def _same_keys(found: Mapping[str, Any], expected: tuple[str, ...] | list[str], field: str) -> None:
    unknown = sorted(set(found) - set(expected), key=str)
    missing = sorted(set(expected) - set(found))
    if unknown or missing:
        raise InvalidModel(
            f"unknown keys {unknown}, missing keys {missing}", field=field, allowed="exactly what Model gives"
        )
