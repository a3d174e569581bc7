"""How visitors, and the smoke test, come to the application."""

from __future__ import annotations

from lastgood.deploy import reach
from lastgood.preflight.line import GOOD, NOTE, UNKNOWN, WRONG, Facts, Line

CERTIFICATE, LISTENER, RULES = (
    "acm:DescribeCertificate",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeRules",
)
ZONE = "route53:GetHostedZone"


def lines(facts: Facts) -> list[Line]:
    """The certificate, the domain, a listener that there is already, and whether the smoke test gets there."""
    found = [_certificate(facts), *_zone(facts), *_listener(facts)]
    closed = reach.closed(facts.environment, facts.url, facts.parameters)
    if closed:
        text, _, todo = closed.partition("; ")
        found.append(Line("smoke test", WRONG, text, todo))
    return found


def covers(name: str, domain: str) -> bool:
    """Whether a certificate's name is for a domain: the same, or `*.` and its parent."""
    return name == domain or (name.startswith("*.") and domain.partition(".")[2] == name[2:])


def _certificate(facts: Facts) -> Line:
    arn, domain = facts.parameters.get("CertificateArn", ""), facts.parameters.get("Domain", "")
    if not arn:
        if facts.parameters.get("ListenerArn"):
            return Line("certificate", GOOD, "that of the listener")
        return Line("certificate", NOTE, "none: visitors come by plain HTTP", "set Domain and CertificateArn")
    region = (arn.split(":") + [""] * 4)[3]
    if region != facts.region:
        return Line(
            "certificate",
            WRONG,
            f"it is of {region or 'no region'}, the load balancer of {facts.region}",
            "request one in ACM there",
        )
    unknown = facts.unknown("certificate", CERTIFICATE)
    if unknown:
        return unknown
    answer = facts.answer(CERTIFICATE)
    if answer is None:
        return Line("certificate", WRONG, f"ACM has no {arn}", "set CertificateArn to one that there is")
    certificate = answer["Certificate"]
    if certificate["Status"] != "ISSUED":
        return Line(
            "certificate",
            WRONG,
            f"it is {certificate['Status']}",
            "add the record that ACM shows to the domain's zone, and wait",
        )
    names = [certificate["DomainName"], *certificate.get("SubjectAlternativeNames", [])]
    if not domain:
        return Line(
            "certificate",
            WRONG,
            f"it is for {names[0]}, and no Domain is set",
            f"set Domain to a name that it covers, as {names[0]}",
        )
    if not any(covers(name, domain) for name in names):
        return Line(
            "certificate",
            WRONG,
            f"it is for {', '.join(dict.fromkeys(names))}, not for {domain}",
            "request one that covers it",
        )
    return Line("certificate", GOOD, f"issued, covers {domain}")


def _zone(facts: Facts) -> list[Line]:
    zone, domain = facts.parameters.get("HostedZoneId", ""), facts.parameters.get("Domain", "")
    if not zone:
        if domain and not facts.parameters.get("ListenerArn"):
            text = f"{domain} is pointed at the load balancer by you: its name is known when the stack has made it"
            return [Line("domain", NOTE, text, "or set HostedZoneId, and the stack does it")]
        return []
    unknown = facts.unknown("domain", ZONE)
    if unknown:
        return [unknown]
    answer = facts.answer(ZONE)
    if answer is None:
        return [Line("domain", WRONG, f"Route 53 has no zone {zone}", "set HostedZoneId to one that there is")]
    name = str(answer["HostedZone"]["Name"]).rstrip(".")
    if domain != name and not domain.endswith(f".{name}"):
        return [
            Line("domain", WRONG, f"{domain or 'no domain'} is not of the zone {name}", "set Domain or HostedZoneId")
        ]
    if answer["HostedZone"].get("Config", {}).get("PrivateZone"):
        return [
            Line(
                "domain", NOTE, f"{name} is a private zone: only its networks know {domain}", "ask from inside, see url"
            )
        ]
    return [Line("domain", GOOD, f"{domain}, in the zone {name}")]


def _listener(facts: Facts) -> list[Line]:
    arn = facts.parameters.get("ListenerArn", "")
    if not arn:
        return []
    unknown = facts.unknown("listener", LISTENER)
    if unknown:
        return [unknown]
    answer = facts.answer(LISTENER)
    if answer is None:
        return [Line("listener", WRONG, f"there is no {arn}", "set ListenerArn to one that there is")]
    found = []
    if answer["Listeners"][0]["Protocol"] != "HTTPS":
        text = f"it speaks {answer['Listeners'][0]['Protocol']}; the stack says https of itself"
        found.append(Line("listener", NOTE, text, f"set url below [tool.lastgood.environments.{facts.environment}]"))
    rules = facts.answer(RULES)
    if rules is None:
        found.append(
            Line("listener's rules", UNKNOWN, "whether the priority is free can't be seen", "look in the console")
        )
        return found
    priority = facts.parameters.get("ListenerPriority", "")
    own = facts.answer(f"cloudformation:DescribeStacks {facts.project}-{facts.environment}") is not None
    if not own and priority in [one["Priority"] for one in rules["Rules"]]:
        text = f"its priority {priority} is taken"
        found.append(Line("listener's rules", WRONG, text, "set ListenerPriority to a number that is free"))
    return found or [Line("listener", GOOD, "HTTPS, and the rule has its place")]
