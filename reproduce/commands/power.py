"""How many seeds an effect takes, and what a table's seeds can find, from the variances of its committed runs."""

from analysis import families, load, power, write
from reproduce import arguments
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError

SEEDS = (3, 5, 8, 12, 20, 40)


def main(words: list[str] | None = None) -> int:
    """Prints both, before and after the first step of Holm's adjustment over the table's confirmatory family."""
    parser = arguments.Parser(prog="python -m reproduce power", description=arguments.first_line(__doc__))
    parser.add_argument("table", help="number of the table whose committed runs are read")
    parser.add_argument("--profile", default=arguments.DEFAULT_PROFILE)
    parser.add_argument("--effect", type=_points, default=2.0, help="points of difference between two rows (default 2)")
    options = parser.parse_args(words)
    print(report(options.table, options.profile, options.effect))
    return 0


def _points(text: str) -> float:
    try:
        points = float(text)
    except ValueError:
        points = 0.0
    if not 0 < points <= 100:
        raise UserError(f"--effect {text}: give points of difference, above 0 and at most 100")
    return points


def report(table: str, profile: str, points: float) -> str:
    """The text that `main` prints."""
    if table not in write.SPECS:
        raise UserError(f"table {table} is not part of this version; choose one of {', '.join(write.SPECS)}")
    spec = write.SPECS[table]
    TableConfig.load(spec.table).rows(profile)  # names a profile that the table does not have
    source = load.load_source(profile, f"table{spec.table}")
    found = power.variances(source, spec.baseline)
    if found is None:
        raise UserError(f"{source.folder}: no two rows of two seeds without a collapsed run, so no variance is known")
    levels, family = {"one comparison": power.ALPHA}, families.confirmatory(spec.table)
    if family:
        count = len(family.comparisons)
        levels[f"the first of {count} confirmatory ones (Holm)"] = power.ALPHA / count
    lines = [
        f"Table {spec.table}, profile {profile}: {found.rows} rows without a collapsed run.",
        f"Standard deviations of a paired difference: {power.shown_parts(found)}.",
        "",
    ]
    for name, alpha in levels.items():
        seeds = found.seeds(points / 100, alpha)
        need = f"{seeds} seeds a row" if seeds else f"more than {power.MOST_SEEDS} seeds a row, or more questions"
        lines.append(f"{points:g} points, 80 % chance, two-sided {power.ALPHA}, {name}: {need}.")
    lines += ["", f"{'seeds a row':>11}  {'finds with 80 %, points':>23}  {f'chance of {points:g} points':>22}"]
    for n in SEEDS:
        chance = f"{100 * found.power(points / 100, n):.0f} %"
        lines.append(f"{n:>11}  {100 * found.smallest(n):>23.1f}  {chance:>22}")
    return "\n".join([*lines, "", "Last two columns: one comparison, rows of the same seeds, paired."])
