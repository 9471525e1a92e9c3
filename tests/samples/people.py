"""People to import, as a file holds them."""

HEADER = "email,name,age\n"


def people_csv(count: int, tag: str = "user") -> str:
    """Return CSV of `count` people; no two have the same address, nor do two tags share one."""
    lines = (f"{tag}{n}@example.com,Zoë {tag} {n},{n % 100}\n" for n in range(count))
    return HEADER + "".join(lines)
