"""The parameters of a layer: attributes that are checked, learn within limits, and are saved."""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional import lift
from spikingtorch.functional.core.torch_private import is_shard
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.limits import ANY, COMMON, Limits, limits_of
from spikingtorch.layers.reset_value import is_open, opened, shown_rule, value_of, with_value
from spikingtorch.layers.split import is_borrowed

# options that are given in the constructor or never, because other attributes may depend on them
_CHECKED = ("dt", "refractory", "longest", "norm_input")


class Attributes(StatefulLayer):
    """A layer that stores the parameters of its step as attributes: floats, buffers, and what is trained."""

    attribute_names: ClassVar[Mapping[str, str]] = {"reset": "reset_rule"}
    # the valid values of the attributes, in the constructor and later
    limits: Mapping[str, Any] = {}
    # attributes that cannot change, because others depend on them
    fixed: ClassVar[tuple[str, ...]] = ()
    constrain: bool | Literal["mirror"]

    def _set_up(self, params: dict[str, Any], learnable: bool | str | Iterable[str], names: Mapping[str, str]) -> None:
        """Store the parameters of the step, by its names, as attributes; ``names`` are for messages and the repr."""
        owner = type(self).__name__
        self._other_names = names
        self._apart: tuple[str, ...] = ()  # attributes that are no parameters of the step
        self._ranges: dict[str, Limits] = {}  # of the parameters that learn and have limits
        self._mirrors: dict[str, Limits] = {}  # of those that are reflected at them
        v_reset = value_of(owner, params.get("reset"))
        self._sets_value = v_reset is not None
        if self._sets_value:
            params |= {"v_reset": v_reset, "reset": opened(params["reset"])}
        attributes = {name: self.attribute_names.get(name, name) for name in params}
        values = {attributes[name]: value for name, value in params.items()}
        trainable = {name for name, value in values.items() if isinstance(value, Real | Tensor) and name != "dt"}
        given = {self._name(name): name for name in trainable}
        either = attributes | given  # the threshold has two names
        named = trainable if learnable is True else chosen_names(learnable)
        chosen = {either.get(name, name) for name in named}
        if not chosen <= trainable:
            wrong = sorted(map(self._name, chosen - trainable))
            raise ValueError(f"{owner}: learnable names {wrong}; choose from {sorted(given)}")
        for name, value in values.items():
            self._store(name, value, name in chosen)
        self._attributes = attributes

    def _keep(self, name: str, value: Tensor | float) -> None:
        """Store an attribute that is no parameter of the step and therefore not learnable."""
        if isinstance(value, Tensor) and value.requires_grad:
            raise ValueError(f"{type(self).__name__}: {name} cannot be learned; give it {name}.detach()")
        self._apart = (*self._apart, name)
        self._store(name, value, False)

    def _name(self, attribute: str) -> str:
        """Return the name by which the user knows an attribute: that of the argument."""
        # a layer has a method reset, so the rule has another name as an attribute
        return self._other_names.get(attribute, "reset" if attribute == "reset_rule" else attribute)

    def _names(self) -> list[str]:
        """Return the attributes that define what the layer computes."""
        return [*self._attributes.values(), *self._apart]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("recurrent", self._recurrent_name):
            name, value = self._recurrent_name, self._accepted_recurrent(value)
        if (name in _CHECKED or name in self.limits) and "_attributes" in self.__dict__:
            self._check_given(name, value)
        if name == "threshold":
            name = self.attribute_names.get(name, name)  # the threshold may have its older name
        if "_attributes" in self.__dict__ and name in self._names():
            self._check_limits(name, value, isinstance(value, nn.Parameter))
            if name == self._attributes.get("reset"):
                value = self._opened(value)
        super().__setattr__(name, value)

    @property
    def _recurrent_name(self) -> str:
        """Return the name of the recurrent weights, as an attribute and as an argument."""
        return self.attribute_names.get("recurrent", "recurrent")

    def _accepted_recurrent(self, value: Any) -> Any:
        """Return recurrent weights as the layer stores them, and set the layer's synapse to theirs."""
        return value

    def _check_given(self, name: str, value: Any) -> None:
        """Raise if an option changes that the layer was made without, or that other attributes depend on."""
        owner = type(self).__name__
        if name not in self._names() and (self.limits or name == "refractory"):
            raise ValueError(
                f"{owner}: it was made without {name}; give it to the constructor: {owner}(..., {name}={value!r})"
            )
        if name in self.fixed and value != getattr(self, name, value):
            raise ValueError(
                f"{owner}: {name} cannot change from {getattr(self, name)!r} to {value!r}, because other "
                "attributes depend on it; make another layer"
            )

    def _opened(self, rule: Any) -> Any:
        """Return a reset rule without its value; store the value in the layer, if there is one."""
        if self._sets_value and is_open(rule):
            return rule
        v_reset = value_of(type(self).__name__, rule)
        if self._sets_value:
            delattr(self, "v_reset")
            del self._attributes["v_reset"]
        self._sets_value = v_reset is not None
        if v_reset is None:
            return rule
        self._store("v_reset", v_reset, False)
        self._attributes["v_reset"] = "v_reset"
        return opened(rule)

    def _check_limits(self, name: str, value: Any, learns: bool) -> None:
        """Raise unless a value is within its limits; note the range of a learnable parameter."""
        limits: Any = limits_of(type(self).__name__, self.limits, name) or COMMON.get(name)
        if limits is None and self.limits and isinstance(value, Real | Tensor):
            limits = ANY  # a number of a layer of this library
        if limits is None:
            return
        # fully_shard assigns the parts and the gathered copy of what an optimizer has moved; a call clamps it
        moved: Any = value
        mirrors = learns and self.constrain == "mirror"
        if not (learns and (is_shard(moved) or is_borrowed(self, moved))):
            checked = ANY if mirrors else limits
            checked.check(
                type(self).__name__, self._name(name), with_value(value, 0.0), learns and self.constrain is True
            )
        self._ranges.pop(name, None)
        self._mirrors.pop(name, None)
        if mirrors:
            self._mirrors[name] = limits
        elif learns and self.constrain:
            self._ranges[name] = limits.learned or limits

    def _clamp(self) -> None:
        """Clamp the parameters that an optimizer has moved out of their limits."""
        if not self._ranges or torch.compiler.is_compiling():
            return
        for name, within in self._ranges.items():
            parameter: Any = self._parameters.get(name)
            if isinstance(parameter, nn.Parameter) and not is_borrowed(self, parameter):
                within.clamp(type(self).__name__, self._name(name), parameter)

    def _store(self, name: str, value: Any, learnable: bool) -> None:
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: parameter {name!r} would hide the layer's attribute of that name")
        self._check_limits(name, value, learnable or isinstance(value, nn.Parameter))
        if isinstance(value, Real):
            value = float(value)
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        elif learnable:
            tensor = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)
            self.register_parameter(name, nn.Parameter(tensor))
        elif isinstance(value, Tensor):
            if value.requires_grad:
                raise ValueError(
                    f"{type(self).__name__}: {name} requires a gradient but is no nn.Parameter, so no optimizer would "
                    f"find it. Wrap it in nn.Parameter, or pass learnable={name!r}"
                )
            self.register_buffer(name, value.clone())  # a copy, so that two layers made from one tensor share nothing
        else:
            setattr(self, name, value)

    def _stored_params(self) -> dict[str, Any]:
        found = {}
        for name, attribute in self._attributes.items():
            value = getattr(self, attribute)
            within = self._ranges.get(attribute)
            if within is not None:
                clamped = isinstance(value, nn.Parameter) and checks.has_values(value) and not is_borrowed(self, value)
                value = value if clamped else within.within(value)
            found[name] = value if type(value) is float else lift(value)
        return found

    def _constants(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names()}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._clamp()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _check_loaded(self) -> None:
        for name, value in self._constants().items():
            if isinstance(value, Tensor):
                self._check_limits(name, value, name in self._ranges or name in self._mirrors)


def chosen_names(learnable: bool | str | Iterable[str]) -> set[str]:
    """Return the names in ``learnable``; none for False.

    Raises:
        TypeError: learnable is something else than a bool, a name or names.
    """
    if not isinstance(learnable, bool | str | Iterable):
        raise TypeError(f"learnable={learnable!r}, expected True, False, a name or a tuple of names")
    return {learnable} if isinstance(learnable, str) else set(() if isinstance(learnable, bool) else learnable)


def shown(value: Any) -> str:
    """Return a parameter as text for the repr of a layer."""
    if not isinstance(value, Tensor):
        return shown_rule(value)
    scalar = value.ndim == 0 and checks.has_values(value)
    return f"{value.item():g}" if scalar else f"<{'x'.join(map(str, value.shape))}>"
