"""SNMP: net-snmp's agent with the values of a product, and its tools as the network management."""

from roles import role

SYSTEM = ["1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.2.0", "1.3.6.1.2.1.1.5.0", "1.3.6.1.2.1.1.6.0"]


def snmp_texts(spec, play):
    """All values, and the system name."""
    texts = [
        ("snmp.sys_descr (sysDescr)", play["sys_descr"]),
        ("snmp.sys_name (sysName)", play.get("sys_name", spec.get("hostname", spec["name"]))),
    ]
    return texts + [(f"snmp {oid}", value) for oid, kind, value in play.get("values", [])]


@role("snmp_agent", snmp_texts)
def snmp_agent(device, play):
    """snmpd: the system group and what the hospital file adds; nothing of this machine is in view."""
    lines = [
        "agentaddress udp:161",
        "view lab included .1.3.6.1.2.1.1",
        f"sysdescr {play['sys_descr']}",
        f"sysobjectid {play['sys_object_id']}",
        f"sysname {play.get('sys_name', device.hostname)}",
        f"syslocation {play.get('location', 'Building A')}",
        "syscontact none",
        f"rocommunity {play.get('community', 'public')} default -V lab",
    ]
    if play.get("user"):
        lines += [f"createUser {play['user']} SHA {play['secret']} AES {play['secret']}", f"rouser {play['user']} priv -V lab"]
    for oid, kind, value in play.get("values", []):
        text = value if kind != "octet_str" else f'"{value}"'
        lines += [f"override {oid} {kind} {text}", f"view lab included .{oid}"]
    conf = device.write("snmpd.conf", "\n".join(lines) + "\n")
    (device.folder / "snmp").mkdir(exist_ok=True)
    environment = {"SNMP_PERSISTENT_DIR": str(device.folder / "snmp"), "MIBS": "", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    device.serve("snmpd", "-f", "-C", "-Lo", "-c", conf, "-I", "system_mib,override,vacm_conf,usmConf,vacm_vars", env=environment)


@role("snmp_manager")
def snmp_manager(device, play):
    """snmpget of what each device on its list has to say."""
    for name in play["devices"]:
        agent = next(one for one in device.other(name)["does"] if one["role"] == "snmp_agent")
        values = [oid for oid, _, _ in agent.get("values", [])]
        version = (
            ["-v3", "-l", "authPriv", "-u", agent["user"], "-a", "SHA", "-A", agent["secret"], "-x", "AES", "-X", agent["secret"]]
            if agent.get("user")
            else [agent.get("version", "-v2c"), "-c", agent.get("community", "public")]
        )

        (device.folder / "snmp").mkdir(exist_ok=True)

        def ask(name=name, version=version, values=values):
            device.run(
                "env",
                f"SNMP_PERSISTENT_DIR={device.folder / 'snmp'}",
                "snmpget",
                "-t",
                "1",
                "-r",
                "1",
                "-m",
                "",
                *version,
                device.host(name),
                *SYSTEM,
                *values,
            )

        device.every(play.get("every", 30), ask)
