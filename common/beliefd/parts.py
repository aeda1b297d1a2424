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
"""The constructor arguments that every spec holds under their own names."""

EXTRAS: dict[str, Any] = {
    "use_param_info_gain": False,
    "use_inductive": False,
    "inductive_depth": 1,
    "inductive_threshold": 0.1,
    "inductive_epsilon": 1e-3,
    "inference_horizon": None,
    "occam_window": None,
    "planner": "policies",
    "num_simulations": 256,
    "update_gamma": False,
    "learn_A": [],
    "learn_B": [],
    "learn_C": [],
    "learn_D": [],
    "learn_E": False,
    **{f"{rate}_{counts}": 1.0 for rate in ("lr", "fr") for counts in ("pA", "pB", "pC", "pD", "pE")},
    "keep_zeros": True,
    "profile": "pymdp",
}
"""The constructor arguments that a spec holds only where they differ from these values, as `num_controls`,
`B_action_dependencies` and `policy_len` where B and policies do not say them already, and `C_dependencies`: so a model
keeps its hash when `Model` learns a new argument that it does not use."""

_ALWAYS = (*OPTIONS, "A_dependencies", "B_dependencies", "format")
_SOMETIMES = (*EXTRAS, "C_dependencies", "B_action_dependencies", "num_controls", "policy_len", "arrays")


def spec_of(model: Model) -> dict[str, Any]:
    spec: dict[str, Any] = {name: getattr(model, name) for name in OPTIONS}
    spec["control_fac_idx"] = list(model.control_fac_idx)
    spec["A_dependencies"] = [list(row) for row in model.A_dependencies]
    spec["B_dependencies"] = [list(row) for row in model.B_dependencies]
    spec["format"] = FORMAT_VERSION
    for name, default in EXTRAS.items():
        value = getattr(model, name)
        value = list(value) if isinstance(value, tuple) else value
        if value != default:
            spec[name] = value
    if any(model.C_dependencies):
        spec["C_dependencies"] = [list(row) for row in model.C_dependencies]
    if model.B_action_dependencies != tuple((f,) for f in range(len(model.B))):
        spec["B_action_dependencies"] = [list(row) for row in model.B_action_dependencies]
    # B says how many actions its own controls have, but not that there are others, which move nothing.
    if "B_action_dependencies" in spec or len(model.num_controls) > len(model.B):
        spec["num_controls"] = list(model.num_controls)
    if model.policy_len != model.policies.shape[1]:
        spec["policy_len"] = model.policy_len
    if given := list(_given(model)):
        spec["arrays"] = given
    return spec


def tensors_of(model: Model) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for letter, arrays in (("A", model.A), ("B", model.B), ("C", model.C), ("D", model.D)):
        tensors.update({f"{letter}{i}": array for i, array in enumerate(arrays)})
    tensors["E"] = model.E
    tensors["policies"] = model.policies
    return tensors | _given(model)


def _given(model: Model) -> dict[str, NDArray[Any]]:
    """The arrays that a model may do without, by name: what its spec lists under "arrays"."""
    given: dict[str, NDArray[Any]] = {}
    for letter in ("pA", "pB", "pC", "pD", "H"):
        entries = getattr(model, letter) or ()
        given.update({f"{letter}{i}": array for i, array in enumerate(entries) if array is not None})
    return given if model.pE is None else given | {"pE": model.pE}


def tensor_names(spec: Mapping[str, Any]) -> list[str]:
    """The names of the arrays that belong to a spec, in canonical order; refuses a spec that is not of this format."""
    if not isinstance(spec, Mapping):
        raise InvalidModel("not a mapping", field="spec", value=type(spec).__name__, allowed="what Model.spec() gives")
    if spec.get("format") != FORMAT_VERSION:
        raise InvalidModel(
            "unknown format version", field="format", value=spec.get("format"), allowed=str(FORMAT_VERSION)
        )
    _same_keys({name: spec[name] for name in spec if name not in _SOMETIMES}, _ALWAYS, "spec")
    modalities = len(validation.sequence(spec["A_dependencies"], "A_dependencies", longest=validation.MAX_MODALITIES))
    factors = len(validation.sequence(spec["B_dependencies"], "B_dependencies"))
    counts = (("A", modalities), ("B", factors), ("C", modalities), ("D", factors))
    names = [f"{letter}{i}" for letter, count in counts for i in range(count)] + ["E", "policies"]
    optional = (("pA", modalities), ("pB", factors), ("pC", modalities), ("pD", factors), ("H", factors))
    known = [f"{letter}{i}" for letter, count in optional for i in range(count)] + ["pE"]
    given = validation.sequence(spec.get("arrays", []), "arrays", shortest=0, longest=len(known))
    if given != [name for name in known if name in given]:
        raise InvalidModel("not names of arrays in order", field="arrays", allowed="what Model.spec() gives")
    return names + given


def arguments(spec: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments that make the model of these parts."""
    names = tensor_names(spec)
    _same_keys(tensors, names, "tensors")
    found: dict[str, Any] = {letter: [tensors[n] for n in names if n[0] == letter and n[1:]] for letter in "ABCD"}
    for letter, count in (("pA", "A"), ("pB", "B"), ("pC", "A"), ("pD", "B"), ("H", "B")):
        entries = [tensors.get(f"{letter}{i}") for i in range(len(found[count]))]
        found[letter] = None if all(entry is None for entry in entries) else entries
    found |= {name: spec[name] for name in (*_ALWAYS, *_SOMETIMES) if name in spec and name not in ("format", "arrays")}
    found |= {name: tensors[name] for name in ("E", "policies", "pE") if name in tensors}
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
