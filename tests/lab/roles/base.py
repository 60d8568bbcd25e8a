"""Addresses and the services of every network: DHCP clients and server, DNS, NTP, syslog, ping, SSH, HTTP, FTP, Telnet."""

import socket
import time

from roles import role

UDHCPC_SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
  ip -4 addr flush dev $interface
  ip addr add $ip/$mask dev $interface
  for router in $router; do ip route replace default via $router; break; done
  echo "{\\"at\\": $(date +%s.%N), \\"address\\": \\"$ip\\", \\"event\\": \\"$1\\"}" >> LEASES ;;
deconfig) ip -4 addr flush dev $interface; ip link set $interface up ;;
esac
"""

DHCLIENT_SCRIPT = """#!/bin/sh
case "$reason" in
BOUND|REBOOT|RENEW|REBIND)
  [ "$old_ip_address" = "$new_ip_address" ] || ip -4 addr flush dev $interface
  ip addr replace $new_ip_address/$(ipcalc_prefix=$new_subnet_mask; echo $ipcalc_prefix) dev $interface
  for router in $new_routers; do ip route replace default via $router; break; done
  echo "{\\"at\\": $(date +%s.%N), \\"address\\": \\"$new_ip_address\\", \\"event\\": \\"$reason\\"}" >> LEASES ;;
EXPIRE|FAIL|RELEASE|STOP|TIMEOUT) ip -4 addr flush dev $interface; ip link set $interface up ;;
PREINIT) ip link set $interface up ;;
esac
exit 0
"""

OPTION_NAMES = {
    1: "subnet-mask",
    2: "time-offset",
    3: "routers",
    6: "domain-name-servers",
    12: "host-name",
    15: "domain-name",
    26: "interface-mtu",
    28: "broadcast-address",
    31: "router-discovery",
    33: "static-routes",
    42: "ntp-servers",
    43: "vendor-encapsulated-options",
    44: "netbios-name-servers",
    46: "netbios-node-type",
    47: "netbios-scope",
    51: "dhcp-lease-time",
    54: "dhcp-server-identifier",
    58: "dhcp-renewal-time",
    59: "dhcp-rebinding-time",
    66: "tftp-server-name",
    67: "bootfile-name",
    119: "domain-search",
}


def dhcp_texts(spec, play):
    """What a client says of itself."""
    return [
        ("dhcp.hostname (option 12)", spec.get("hostname", spec["name"])),
        ("dhcp.vendor_class (option 60)", play.get("vendor", "")),
    ]


@role("dhcp", dhcp_texts)
def dhcp(device, play):
    """A DHCP client that leaves its address and asks for another one again and again."""
    hospital = device.hospital
    clients = [other["name"] for other in hospital["device"] if any(one["role"] == "dhcp" for one in other.get("does", []))]
    mine, state = clients.index(device.name), {"round": 0, "child": None}
    pool = hospital["dhcp"]
    pace = hospital.get("lease_every_seconds", 18)

    def wanted():
        # Two rounds share no address, and each address is another device's a few rounds later.
        slot = (mine + state["round"] * (len(clients) + 4)) % pool["count"]
        return f"{pool['first'].rsplit('.', 1)[0]}.{int(pool['first'].rsplit('.', 1)[1]) + slot}"

    def change():
        if state["child"]:
            leave(device, play, state["child"])
        state["child"] = (dhclient if play.get("client") == "dhclient" else udhcpc)(device, play, wanted(), state["round"])
        state["round"] += 1

    device.every(pace, change, first=1.5 + mine * pace / len(clients) / 3)


def leave(device, play, child):
    """Gives the address back and ends the client."""
    if play.get("client") == "dhclient":
        device.run(
            "dhclient",
            "-r",
            "-cf",
            device.folder / "dhclient.conf",
            "-lf",
            device.folder / "leases",
            "-pf",
            device.folder / "dhclient.pid",
            "-sf",
            device.folder / "dhclient.sh",
            "eth0",
        )
    child.terminate()
    try:
        child.wait(3)
    except Exception:
        child.kill()


def udhcpc(device, play, wanted, count):
    """BusyBox: it asks for an address in its DISCOVER."""
    script = device.write("udhcpc.sh", UDHCPC_SCRIPT.replace("LEASES", str(device.folder / "leases.jsonl")))
    (device.folder / "udhcpc.sh").chmod(0o755)
    words = [
        "udhcpc",
        "-i",
        "eth0",
        "-f",
        "-R",
        "-t",
        "4",
        "-T",
        "1",
        "-A",
        "2",
        "-s",
        script,
        "-x",
        f"hostname:{device.hostname}",
    ]
    words += ["-V", play["vendor"]] if play.get("vendor") else []
    if play.get("options"):
        words += ["-o", *[word for number in play["options"] for word in ("-O", str(number))]]
    return device.serve(*words, "-r", wanted)


def dhclient(device, play, wanted, count):
    """ISC: it remembers an address that it had, as one that slept does, and asks for that (INIT-REBOOT)."""
    names = ", ".join(OPTION_NAMES[number] for number in play.get("options", [1, 3, 6, 15, 28, 42]))
    conf = f'send host-name "{device.hostname}";\nrequest {names};\ntimeout 20;\nretry 2;\nreboot 3;\ninitial-interval 1;\n'
    conf += f'send vendor-class-identifier "{play["vendor"]}";\n' if play.get("vendor") else ""
    conf += (
        f'send fqdn.fqdn "{device.hostname}.{device.hospital["domain"]}";\nsend fqdn.server-update on;\n'
        if play.get("fqdn")
        else ""
    )
    device.write("dhclient.conf", conf)
    lease = (
        f'lease {{\n  interface "eth0";\n  fixed-address {wanted};\n  option subnet-mask 255.255.255.0;\n'
        "  renew 0 2035/01/07 00:00:00;\n  rebind 0 2035/01/07 00:00:00;\n  expire 0 2035/01/07 00:00:00;\n}\n"
    )
    device.write("leases", lease)
    prefix = str(device.hospital["segment"][device.spec["segment"]]["prefix"])
    text = DHCLIENT_SCRIPT.replace("LEASES", str(device.folder / "leases.jsonl"))
    script = device.write("dhclient.sh", text.replace("$(ipcalc_prefix=$new_subnet_mask; echo $ipcalc_prefix)", prefix))
    (device.folder / "dhclient.sh").chmod(0o755)
    return device.serve(
        "dhclient",
        "-d",
        "-4",
        "-cf",
        device.folder / "dhclient.conf",
        "-lf",
        device.folder / "leases",
        "-pf",
        device.folder / "dhclient.pid",
        "-sf",
        script,
        "eth0",
    )


@role("dhcp_dns_server")
def dhcp_dns_server(device, play):
    """dnsmasq: DHCP for the segment it is on, DNS for all."""
    hospital, pool = device.hospital, device.hospital["dhcp"]
    first, last = pool["first"], int(pool["first"].rsplit(".", 1)[1]) + pool["count"] + 10
    lines = [
        "keep-in-foreground",
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        "interface=eth0",
        "user=root",
        "dhcp-authoritative",
        "log-dhcp",
        "log-facility=-",
        f"domain={hospital['domain']}",
        "expand-hosts",
        "no-ping",
        "pid-file=",
        f"dhcp-range={first},{first.rsplit('.', 1)[0]}.{last},255.255.255.0,2m",
        f"dhcp-leasefile={device.folder / 'dnsmasq.leases'}",
        f"dhcp-option=3,{hospital['segment'][device.spec['segment']]['gateway']}",
        f"dhcp-option=6,{hospital['name_server']}",
        f"dhcp-option=42,{hospital.get('time_server', hospital['name_server'])}",
    ]
    for other in hospital["device"]:
        address = other.get("address") or next((leg["address"] for leg in other.get("leg", [])), None)
        if address:
            lines.append(f"host-record={other.get('hostname', other['name']).lower()}.{hospital['domain']},{address}")
    device.serve("dnsmasq", "-C", device.write("dnsmasq.conf", "\n".join(lines) + "\n"))


@role("ntp_server")
def ntp_server(device, play):
    """chrony, which does not touch this machine's clock."""
    conf = f"local stratum {play.get('stratum', 2)}\nallow 0.0.0.0/0\nport 123\ncmdport 0\npidfile {device.folder}/chronyd.pid\n"
    device.serve("chronyd", "-d", "-x", "-u", "root", "-f", device.write("chrony.conf", conf))


@role("ntp_client")
def ntp_client(device, play):
    """Asks for the time, and does not set it."""
    device.every(play.get("every", 45), lambda: device.run("ntpdate", "-q", device.host(play["to"])))


@role("syslog_server")
def syslog_server(device, play):
    """rsyslog takes messages and keeps none."""
    conf = (
        f'module(load="imudp")\ninput(type="imudp" port="514")\nglobal(workDirectory="{device.folder}")\n'
        '*.* action(type="omfile" file="/dev/null")\n'
    )
    device.serve("rsyslogd", "-n", "-i", device.folder / "rsyslogd.pid", "-f", device.write("rsyslog.conf", conf))


@role(
    "syslog",
    lambda spec, play: [("syslog.hostname", spec.get("hostname", spec["name"])), ("syslog.message", play.get("text", ""))],
)
def syslog(device, play):
    """util-linux logger; the host name is the device's."""
    form = "--rfc5424" if play.get("rfc5424") else "--rfc3164"

    def send():
        words = [
            "logger",
            "-d",
            "-n",
            device.host(play["to"]),
            "-P",
            "514",
            form,
            "-p",
            "local0.info",
            "-t",
            play.get("tag", "system"),
        ]
        device.run(*words, play.get("text", "link state of the interface is up"))

    device.every(play.get("every", 40), send)


@role("ssh_server")
def ssh_server(device, play):
    """OpenSSH with a host key of its own."""
    key = device.folder / "host_key"
    device.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    conf = f"Port 22\nHostKey {key}\nPidFile none\nUsePAM no\nPasswordAuthentication no\nStrictModes no\n"
    device.serve("/usr/sbin/sshd", "-D", "-e", "-f", device.write("sshd_config", conf + play.get("more", "")))


@role("ssh_client")
def ssh_client(device, play):
    """Comes as far as being refused."""
    options = [
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ConnectTimeout=4",
    ]
    device.every(play.get("every", 40), lambda: device.run("ssh", *options, f"operator@{device.host(play['to'])}", "true"))


@role(
    "http_server",
    lambda spec, play: [("http.server", play.get("server", "")), ("http.realm", play.get("realm", ""))]
    + [("http body", text) for text in play.get("pages", {}).values()]
    + [("tls certificate", play.get("organization", ""))],
)
def http_server(device, play):
    """nginx: pages of the hospital file, TLS when it has an organisation for the certificate."""
    port, tls = play.get("port", 443 if play.get("organization") else 80), ""
    if play.get("organization"):
        common = play.get("common_name", f"{device.hostname}.{device.hospital['domain']}")
        device.run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "825",
            "-subj",
            f"/O={play['organization']}/CN={common}",
            "-keyout",
            device.folder / f"key{port}.pem",
            "-out",
            device.folder / f"cert{port}.pem",
        )
        tls = f"ssl_certificate {device.folder}/cert{port}.pem; ssl_certificate_key {device.folder}/key{port}.pem;"
        tls += f"ssl_protocols {play.get('tls', 'TLSv1.2')};"
    locations = ""
    for path, body in play.get("pages", {"/": "<html><title>ready</title></html>"}).items():
        kind = "application/json" if body.startswith("{") else "text/html"
        locations += f"location = {path} {{ default_type {kind}; return 200 '{body}'; }}\n"
    realm = f'auth_basic "{play["realm"]}"; auth_basic_user_file {device.write("users", "")};' if play.get("realm") else ""
    # The header module of this package cannot replace the name, so a device's own name goes with it.
    server = f'add_header X-Product "{play["server"]}" always;' if play.get("server") else ""
    conf = (
        f"daemon off; worker_processes 1; pid {device.folder}/nginx{port}.pid; error_log stderr error; user root;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ access_log off; server_tokens {'on' if play.get('tokens', True) else 'off'};\n"
        f"client_body_temp_path {device.folder}/body; proxy_temp_path {device.folder}/proxy; fastcgi_temp_path {device.folder}/fastcgi;\n"
        f"uwsgi_temp_path {device.folder}/uwsgi; scgi_temp_path {device.folder}/scgi;\n"
        f"server {{ listen {port}{' ssl' if tls else ''}; {tls} {realm} {server}\n{locations}"
        "location / { return 404; } } }\n"
    )
    device.serve("nginx", "-e", "stderr", "-c", device.write(f"nginx{port}.conf", conf))


@role("http_client", lambda spec, play: [("http.user_agent", play.get("agent", ""))])
def http_client(device, play):
    """curl, with the user agent of a product if it has one."""
    agent = ["-A", play["agent"]] if play.get("agent") else []

    def ask():
        url = play["url"].replace("{to}", device.host(play["to"]))
        device.run("curl", "-sk", "-m", "6", *agent, *play.get("more", []), url)

    device.every(play.get("every", 25), ask)


@role("ftp_server", lambda spec, play: [("ftp.banner", play["banner"])])
def ftp_server(device, play):
    """vsftpd with the banner of a product."""
    conf = (
        f"listen=YES\nbackground=NO\nanonymous_enable=YES\nftpd_banner={play['banner']}\nsecure_chroot_dir=/run\nno_anon_password=YES\n"
        "anon_root=/run\nseccomp_sandbox=NO\nrun_as_launching_user=YES\nxferlog_enable=NO\n"
    )
    device.serve("vsftpd", device.write("vsftpd.conf", conf))


@role("ftp_client")
def ftp_client(device, play):
    """curl lists a folder."""
    device.every(play.get("every", 45), lambda: device.run("curl", "-s", "-m", "5", f"ftp://{device.host(play['to'])}/"))


@role("telnet_server", lambda spec, play: [("telnet.banner", play["banner"])])
def telnet_server(device, play):
    """inetutils telnetd, a process for each connection: the banner, then a prompt that lets nobody in."""
    issue = device.write("issue", play["banner"] + "\r\n")
    login = device.write("login.sh", f"#!/bin/sh\ncat {issue}\nprintf 'Username: '\nsleep 2\n")
    (device.folder / "login.sh").chmod(0o755)

    def listen():
        with socket.create_server(("", 23)) as door:
            while True:
                line, _ = door.accept()
                with line:
                    device.serve_on(line, "/usr/sbin/telnetd", "-h", "-E", login)

    device.thread(listen)


@role("telnet_client")
def telnet_client(device, play):
    """BusyBox telnet looks at the banner."""
    device.every(play.get("every", 50), lambda: device.run("sh", "-c", f"sleep 3 | busybox telnet {device.host(play['to'])} 23"))


@role("ping")
def ping(device, play):
    """A monitor's reachability check."""
    device.every(
        play.get("every", 30), lambda: [device.run("ping", "-c", "1", "-W", "1", device.host(name)) for name in play["to"]]
    )


def wait_for_address(device, seconds=30):
    """Its first address, once it has one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if address := device.address():
            return address
        time.sleep(0.3)
    return None
