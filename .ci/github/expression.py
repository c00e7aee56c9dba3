"""Expressions of workflows, `${{ … }}`: names, literals, calls of fromJSON, `==`, `!=`, `!`, `&&`, `||`.

As GitHub evaluates them: a missing name is null, null in a text is empty, and `a && b || c` yields values. Other
syntax is an error.
"""

import json
import re

TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|([A-Za-z_][\w-]*)|(\d+)|(&&|\|\||==|!=|[.()\[\],!*]))")


class Unknown(Exception):
    """An expression that is not supported here."""


def tokens(text):
    place, found = 0, []
    text = text.strip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if not match:
            raise Unknown(f"in {text!r} at {text[place:]!r}")
        found.append(match.groups())
        place = match.end()
    return found + [(None, None, None, None)]


class Parser:
    """Evaluates an expression while it parses it."""

    def __init__(self, text, contexts):
        self.text, self.contexts, self.rest = text, contexts, tokens(text)

    def sign(self, *signs):
        if self.rest[0][3] in signs:
            return self.rest.pop(0)[3]
        return None

    def either(self):
        value = self.both()
        while self.sign("||"):
            other = self.both()
            value = value or other
        return value

    def both(self):
        value = self.compared()
        while self.sign("&&"):
            other = self.compared()
            value = value and other
        return value

    def compared(self):
        value = self.negated()
        sign = self.sign("==", "!=")
        if not sign:
            return value
        other = self.negated()
        same = value.lower() == other.lower() if isinstance(value, str) and isinstance(other, str) else value == other
        return same == (sign == "==")

    def negated(self):
        if self.sign("!"):
            return not self.negated()
        if self.sign("("):
            value = self.either()
            self.needs(")")
        else:
            value = self.value()
        while self.sign("."):
            name = self.rest.pop(0)[1]
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def needs(self, sign):
        if not self.sign(sign):
            raise Unknown(f"in {self.text!r}: {sign} is missing")

    def value(self):
        text, name, number, _ = self.rest.pop(0)
        if text is not None:
            return text[1:-1].replace("''", "'")
        if number is not None:
            return int(number)
        if name is None:
            raise Unknown(f"in {self.text!r}")
        if self.sign("("):
            if name == "fromJSON":
                value = json.loads(self.either())
            elif name in ("always", "success"):
                value = True
            else:
                raise Unknown(f"in {self.text!r}: function {name}")
            self.needs(")")
            return value
        if name in ("true", "false", "null"):
            return json.loads(name)
        if name not in self.contexts:
            raise Unknown(f"in {self.text!r}: there is no context {name} here")
        return self.contexts[name]


def evaluate(text, contexts):
    """The value of the expression `text`, given without `${{ }}`."""
    parser = Parser(text, contexts)
    value = parser.either()
    if parser.rest[0] != (None, None, None, None):
        raise Unknown(f"in {text!r}: {parser.rest}")
    return value


def filled(value, contexts):
    """`value`, a text, list or mapping, with its expressions evaluated. An expression that is the whole text keeps its type."""
    if isinstance(value, dict):
        return {name: filled(it, contexts) for name, it in value.items()}
    if isinstance(value, list):
        return [filled(it, contexts) for it in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\s*\$\{\{(.*?)\}\}\s*", value, re.S)
    if whole and "${{" not in whole[1]:
        return evaluate(whole[1], contexts)
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: shown(evaluate(found[1], contexts)), value, flags=re.S)


def shown(value):
    """A value as text, such as that of a variable."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
