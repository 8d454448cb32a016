"""The command `hodor`, run in the test's own process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from hodor_cli.cli import app


def hodor(*arguments: object, code: int = 0) -> Result:
    """Run the command with these arguments. It must end with this exit code, and without a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*arguments: object, code: int | None = None) -> str:
    """The one sentence with which the command refuses these arguments, with this exit code if one is named."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code or (code is None and result.exit_code not in (0, 70)), result.output
    (sentence,) = (line for line in result.output.splitlines() if line.startswith("error: "))
    assert "Traceback" not in result.output
    return sentence
