"""Replace parts of moto while the stack runs, and put them back afterwards."""

from typing import Any

_MISSING = object()


class Patches:
    """What was replaced, in order."""

    def __init__(self) -> None:
        self._originals: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, replacement: Any) -> Any:
        """Replace an attribute of a class or module and return what was there."""
        original = vars(owner).get(name, _MISSING)
        self._originals.append((owner, name, original))
        setattr(owner, name, replacement)
        return original

    def undo(self) -> None:
        """Put everything back."""
        while self._originals:
            owner, name, original = self._originals.pop()
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def quieten(patches: Patches) -> None:
    """Keep moto from remembering and saying more than a long-running process should.

    It remembers every object, message and record that it ever made, for its dashboard; prints to
    standard output, which is for answers; and lets every web page of the world read every bucket.
    """
    from moto.core.common_models import BaseModel
    from moto.moto_server import werkzeug_app

    def new(cls: type, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def silent(*_: Any, **__: Any) -> None:
        pass

    patches.replace(BaseModel, "__new__", staticmethod(new))
    patches.replace(werkzeug_app, "print", silent)
    patches.replace(werkzeug_app, "DISABLE_GLOBAL_CORS", True)
