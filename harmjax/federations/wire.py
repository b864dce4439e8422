"""Messages as bytes: a JSON head that says how the content is nested, and the arrays' raw bytes.

Nothing in a message is code. Content is nested dicts, lists and tuples of arrays, numbers, texts
and None; lists and tuples both arrive as tuples.
"""

import json
import math

import ml_dtypes
import numpy as np

VERSION = 1
VALUES = (type(None), str, bool, int, float)
DTYPES = {
    name: np.dtype(name)
    for name in ("float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "bool")
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


def pack(content) -> bytes:
    """The message that holds the content.

    Raises:
        ValueError: A value, or a dtype, that does not travel.

    Example:
        >>> unpack(pack({"rows": np.arange(3, dtype=np.int32), "op": "learn"}))["rows"].tolist()
        [0, 1, 2]
    """
    arrays: list[bytes] = []
    head = json.dumps({"version": VERSION, "content": _plain(content, arrays)}).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *arrays])


def unpack(message: bytes):
    """The content of a message.

    Raises:
        ValueError: It is cut, too long, of another version, or holds what is not understood.
    """
    place = 4 + int.from_bytes(message[:4], "little")
    try:
        head = json.loads(message[4:place])
        version, content = head["version"], head["content"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"a message without a head: {error!r}") from error
    if version != VERSION:
        raise ValueError(f"a message of version {version!r}; this is version {VERSION}")
    try:
        found, place = _full(content, message, place)
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"a head that is not understood: {error!r}") from error
    if place != len(message):
        raise ValueError(f"{len(message) - place} bytes beyond the end of a message")
    return found


def _plain(x, arrays):
    if isinstance(x, dict):
        if any(not isinstance(key, str) for key in x):
            raise ValueError(f"keys {list(x)} of a dict do not travel; only texts do")
        return {"d": [[key, _plain(value, arrays)] for key, value in x.items()]}
    if isinstance(x, (list, tuple)):
        return {"l": [_plain(value, arrays) for value in x]}
    if isinstance(x, VALUES):
        return {"v": x}
    try:
        array = np.asarray(x)
    except TypeError as error:
        raise ValueError(f"{type(x).__name__} does not travel: {error}") from error
    if str(array.dtype) not in DTYPES:
        raise ValueError(f"{type(x).__name__} of dtype {array.dtype} does not travel")
    arrays.append(array.tobytes())
    return {"a": [str(array.dtype), list(array.shape)]}


def _full(x, message, place):
    ((kind, value),) = x.items()
    if kind == "d":
        found = {}
        for key, inner in value:
            if not isinstance(key, str) or key in found:
                raise TypeError(f"key {key!r} of a dict")
            found[key], place = _full(inner, message, place)
        return found, place
    if kind == "l":
        items = []
        for inner in value:
            item, place = _full(inner, message, place)
            items.append(item)
        return tuple(items), place
    if kind == "v" and isinstance(value, VALUES):
        return value, place
    if kind != "a":
        raise TypeError(f"{kind!r} of {value!r}")
    name, shape = value
    if name not in DTYPES or any(type(side) is not int or side < 0 for side in shape):
        raise TypeError(f"an array of {name!r} and shape {shape!r}")
    dtype = DTYPES[name]
    end = place + math.prod(shape) * dtype.itemsize
    if end > len(message):
        raise ValueError(f"a message of {len(message)} bytes, cut before byte {end}")
    return np.frombuffer(message[place:end], dtype).reshape(shape), end
