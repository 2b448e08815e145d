"""`dataclass` for code that starts with every command: the same words, without the standard module's price.

`dataclasses` imports `inspect`, `ast` and `dis`, and compiles new source for every class: a third of the life of a
short program such as `hako-runtime start`. Here a class gets closures instead. Made for plain records: fields in
order, defaults, `frozen`, `slots`, comparison, hash, repr; no inherited fields, no `__post_init__`, no keyword-only
ones. The functions of `dataclasses` take them, too. For a type checker they are the standard ones, as `Any` and `Protocol`, for which `typing` is not imported
here either. Imports: nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import asdict, astuple, dataclass, field, replace
    from typing import Any, Protocol
else:
    Any = object

    class Protocol:
        """A base that says only what a class is meant for."""

        __slots__ = ()

    class _Factory:
        """A default that is made anew for each object."""

        __slots__ = ("make",)

        def __init__(self, make):
            self.make = make

    class _Fields:
        """`__dataclass_fields__`, which the functions of `dataclasses` look for, made when one of them looks."""

        def __get__(self, _record, owner):
            import dataclasses

            return dataclasses.make_dataclass(owner.__name__, owner._record).__dataclass_fields__

    def field(*, default_factory):
        """`field(default_factory=list)`."""
        return _Factory(default_factory)

    def dataclass(*, frozen=False, slots=False):
        """Class decorator; see the module's text."""

        def decorate(cls):
            names = tuple(cls.__annotations__)
            defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
            body = {name: value for name, value in cls.__dict__.items()
                    if name not in defaults and name not in ("__dict__", "__weakref__")}  # fmt: skip
            body |= {"__match_args__": names, "_record": names, "__dataclass_fields__": _Fields(), "__repr__": _repr, "__eq__": _eq,
                     "__reduce__": _reduce, "__hash__": _hash if frozen else None}  # fmt: skip
            if slots:
                body["__slots__"] = names
            if frozen:
                body |= {"__setattr__": _refuse, "__delattr__": _refuse}
            for name in ("__repr__", "__eq__"):
                body[name] = cls.__dict__.get(name, body[name])
            made = type(cls)(cls.__name__, cls.__bases__, body)
            made.__init__ = _init(made.__qualname__, names, defaults)
            return made

        return decorate

    def _init(title, names, defaults):
        write, known = object.__setattr__, frozenset(names)

        def init(self, *args, **given):
            if len(args) > len(names):
                raise TypeError(f"{title}() takes {len(names)} arguments but {len(args)} were given")
            for name, value in zip(names, args, strict=False):
                write(self, name, value)
            for name in names[len(args) :]:
                if name in given:
                    value = given[name]
                elif name in defaults:
                    value = defaults[name]
                    value = value.make() if type(value) is _Factory else value
                else:
                    raise TypeError(f"{title}() missing required argument: {name!r}")
                write(self, name, value)
            if given and not given.keys() <= known.difference(names[: len(args)]):
                wrong = ", ".join(sorted(given.keys() - known.difference(names[: len(args)])))
                raise TypeError(f"{title}() got arguments that it does not take, or twice: {wrong}")

        return init

    def astuple(record):
        """The values in order; records in them stay as they are."""
        return tuple(getattr(record, name) for name in record._record)

    def asdict(record):
        """The values by name; records in them stay as they are."""
        return {name: getattr(record, name) for name in record._record}

    def replace(record, **changes):
        """A copy with other values."""
        return type(record)(**(asdict(record) | changes))

    def _repr(self):
        told = ", ".join(f"{name}={value!r}" for name, value in asdict(self).items())
        return f"{type(self).__qualname__}({told})"

    def _eq(self, other):
        return astuple(self) == astuple(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(astuple(self))

    def _reduce(self):
        return type(self), astuple(self)

    def _refuse(self, name, *_value):
        raise AttributeError(f"cannot assign to field {name!r}")


__all__ = ["Any", "Protocol", "asdict", "astuple", "dataclass", "field", "replace"]
