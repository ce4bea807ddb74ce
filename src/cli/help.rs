//! What `--help` says: every command with an example to copy.

pub(super) const ABOUT: &str = "A local gateway for the Bitrix24 REST API: it holds the token, so that no \
                     client has to";

pub(super) const CONFIG_HELP: &str = "Configuration file. Without it: $B24GATE_CONFIG, ./b24gate.toml, \
                           /etc/b24gate/b24gate.toml, the first that exists";

pub(super) const STATE_HELP: &str = "State directory, where tokens are kept. Without it: $STATE_DIRECTORY, \
                          $XDG_STATE_HOME/b24gate, ~/.local/state/b24gate";

pub(super) const LOG_FORMAT_HELP: &str =
    "How log lines on standard error look; $B24GATE_LOG sets their level";

pub(super) const AFTER_HELP: &str = "\
Examples:
  b24gate sandbox                            try it out, with nothing else installed
  b24gate check                              look over the configuration before starting
  b24gate serve                              run the gateway
  b24gate portal connect acme                log in to the portal [portals.acme], beside it
  curl http://localhost:8024/rest/profile    and call it, without a token

Files:
  Configuration: --config FILE, $B24GATE_CONFIG, ./b24gate.toml, /etc/b24gate/b24gate.toml;
  the first that exists. Without any, the defaults hold.
  State (tokens and their key): --state DIR, $STATE_DIRECTORY, $XDG_STATE_HOME/b24gate,
  ~/.local/state/b24gate; the first that is set.

Secrets are read from files, from the environment or from standard input, never from the command
line.

Log: B24GATE_LOG=debug, or for a part of the program B24GATE_LOG=info,b24gate=debug.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 unsafe files (other users can reach a
file that holds secrets), or a store that is in use, retired, or without its key.";

pub(super) const SERVE_HELP: &str = "\
Examples:
  b24gate serve
  b24gate serve --config /etc/b24gate/b24gate.toml --log-format json

It stops at SIGTERM or Ctrl-C, after the calls under way have been answered.";

pub(super) const SANDBOX_HELP: &str = "\
Examples:
  b24gate sandbox                    prints calls to try
  b24gate sandbox --portal-only --listen 127.0.0.1:8090

The sandbox keeps nothing, and reaches no portal but its own.";

pub(super) const AUDIT_HELP: &str = "\
Examples:
  b24gate audit
  b24gate audit --client reports --executed unknown --since 7d
  b24gate audit --method 'crm.*' --status 4xx --json
  b24gate audit --follow
  b24gate audit --summary --since 2026-11-20

The latest come last; times are UTC, and a day begins at midnight UTC. EXECUTED says whether the
portal has run the call: unknown means that it was sent and there was no answer, so check before you
repeat a write. It works with and without a running gateway; calls are there a second after their end.
--follow ends with the gateway.";

pub(super) const CHECK_HELP: &str = "\
Examples:
  b24gate check
  b24gate check --config ./b24gate.toml && b24gate serve --config ./b24gate.toml

One line for each thing that is right (ok), good to know (note) or wrong (WRONG), with the mend.
Exit codes: 0 nothing is wrong, 2 the configuration, 3 unsafe files, 1 anything else.";

pub(super) const PORTAL_HELP: &str = "\
Examples:
  b24gate portal connect acme
  b24gate portal import acme < token.json
  b24gate portal list
  b24gate portal show acme
  b24gate portal disable acme";

pub(super) const IMPORT_HELP: &str = "\
Examples:
  b24gate portal import acme < token.json
  b24gate portal import acme < settings.json
  b24gate portal import acme --replace < token.json

The JSON is a token endpoint's answer, CRest's settings.json, what b24phpsdk or b24jssdk stored, or
the fields of an install request; it is told by its shape. It is read from standard input only, so
that no other user sees it and no shell remembers it. Stop the tool that it comes from: the first of
the two that renews it makes the other one's copy useless.

While the portal has a credential that works, another pair of the same user is kept as a spare, which
takes over when the one in use dies. A pair of another user, or one that does not say whose it is,
is taken only with --replace. A pair of another portal, or one that was used up, is never taken.";

pub(super) const CONNECT_HELP: &str = "\
Examples:
  b24gate portal connect acme
  b24gate portal connect acme --no-browser    print the link, to open it elsewhere
  b24gate portal connect acme --paste         where the browser cannot reach the gateway
  b24gate portal connect acme --replace       log in as another user

It needs a running gateway (`b24gate serve`). Open the link, log in to the portal, and let the
application in; the command waits and says how it ended. The link works once, in one browser, for 10
minutes; Ctrl-C leaves it to expire.

In Bitrix24 the application's handler address has to be <public_url>/oauth/callback, with public_url of
[callback]; http://localhost:8026/oauth/callback is enough where the browser runs on this machine.

With --paste the browser ends on an address with code=... in it, whether a page comes up there or not.
Paste that address within 30 seconds, or the code that the portal shows.

While the portal has a credential that works, that of another login of the same user is kept as a
spare, and that of another user is taken only with --replace: every call runs with their rights then.";

pub(super) const REFRESH_HELP: &str = "\
Examples:
  b24gate portal refresh acme

It needs a running gateway, which renews tokens by itself when calls need it. It is of use after
something was mended in Bitrix24: it tries at once, whatever the last attempt said.";

pub(super) const DISABLE_HELP: &str = "\
Examples:
  b24gate portal disable acme
  b24gate portal enable acme

Calls to a disabled portal are refused until it is enabled; its credential is kept, and not renewed
meanwhile. It works with and without a running gateway, and survives restarts.";

pub(super) const REMOVE_HELP: &str = "\
Examples:
  b24gate portal remove acme --yes

Its tokens are taken out of use, spares and all. A portal of the configuration is not connected
afterwards; one that came by an installation is not served any more. To connect it again, log in or
install again. It works with and without a running gateway.";

pub(super) const WAIT_HELP: &str = "\
Examples:
  b24gate wait && curl http://localhost:8024/rest/profile
  b24gate wait --timeout 5m --portal acme

Exit code 0 as soon as calls can be served, 1 when the time is over, with what stands in the way, a line
each: what /readyz says. With --portal it is about that portal alone, which must have a credential.";

pub(super) const SHOW_HELP: &str = "\
Examples:
  b24gate portal show acme
  b24gate portal show acme --ledger 50
  b24gate portal show acme --ledger 0

Beneath the portal stand its chains, each with the user whose rights it carries, and the latest lines
of the ledger: what happened to its refresh tokens, each named by eight digits of its hash.";

pub(super) const CA_HELP: &str = "\
Examples:
  b24gate ca                                 where it is, and the line for each language
  b24gate ca --pem > b24gate-ca.pem          a copy for other users and other machines
  sudo b24gate ca --install --state DIR      trust it in the whole system
  curl --cacert ~/.local/state/b24gate/ca.pem https://localhost:8024/rest/profile

The gateway speaks http and https on the same port. Its certificate is signed by an authority of this
machine's own, which is made here or when the first client speaks https; its key never leaves the
state directory. It works with and without a running gateway. With tls = { cert, key } in [gateway] the
gateway shows a certificate of yours, and this authority is not in use.";

pub(super) const STORE_HELP: &str = "\
Examples:
  b24gate store backup /mnt/safe/b24gate.backup
  b24gate store backup --retire /mnt/stick/b24gate.backup
  b24gate store restore /mnt/stick/b24gate.backup
  b24gate store rekey

Bitrix24 replaces the refresh token at every refresh. A backup is a snapshot that goes stale with
the next refresh of each portal, and two stores that hold the same tokens destroy each other's.";

pub(super) const BACKUP_HELP: &str = "\
Examples:
  b24gate store backup /mnt/safe/b24gate.backup
  b24gate store backup --retire /mnt/stick/b24gate.backup

It may be made while the gateway runs, which then writes it itself. The tokens in it are sealed;
the key is not in it. Keep a copy of the key in another place than the backup: whoever has both has
the tokens, and without the key the backup is of no use.

What it is good for: a move to another machine, with --retire while no gateway runs; and the loss of
the disk, until a portal's next refresh (an hour at most for a portal in use). What is stale
afterwards is connected again with `b24gate portal import`. It is no undo.";

pub(super) const RESTORE_HELP: &str = "\
Examples:
  b24gate store restore /mnt/stick/b24gate.backup
  b24gate store restore --source-is-gone /mnt/safe/b24gate.backup

First put the key of the store that was backed up where the configuration looks for it (by default
b24gate.key in the state directory, chmod 600). Then:
- A backup is restored once. Two stores with the same tokens destroy each other's.
- The store that it was made from must be out of service. On this machine that is looked up, and
  that store is retired. From another machine, make the backup with --retire, or say
  --source-is-gone when that machine is lost or its gateway is stopped for good.
- A store in place is kept as b24gate.db.replaced-TIME, retired.
- Where a store on this machine holds newer tokens than the backup, nothing is restored, unless you
  say --force-older. Then they are lost, but for what the journal of the same store in place holds:
  it stays, and the next start takes the newer pairs from it.
A restoration that was cut short is finished by giving the same command again.";

pub(super) const REKEY_HELP: &str = "\
Examples:
  b24gate store rekey
  b24gate store rekey --new-key-file /etc/b24gate/new.key

By default the key is b24gate.key in the state directory; a new one takes its place. Where the
configuration names the key (key_file or key_env), make the new one yourself:
  openssl rand -hex 32 > /etc/b24gate/new.key && chmod 600 /etc/b24gate/new.key
Backups made before are sealed with the old key: make a new one.";

pub(super) const CLIENT_HELP: &str = "\
Examples:
  b24gate client add erp                              the key of [clients.erp]
  b24gate client add report --portal acme --read-only
  b24gate client list
  b24gate client rotate erp --overlap 1h
  b24gate client remove report

From the first client on a key that is not known is refused, for good. Calls without any key are let
in unless require_key of [gateway] says otherwise.";

pub(super) const CLIENT_ADD_HELP: &str = "\
Examples:
  b24gate client add erp
  b24gate client add report --portal acme --method 'crm.*' --method '!*.delete' --expires 30d
  b24gate client add report --read-only --json

The key is printed once, with the lines that tools want; only its hash is kept. What a client may do
stands in [clients.NAME] of the configuration, or where there is no such section, in these options.";

pub(super) const CLIENT_ROTATE_HELP: &str = "\
Examples:
  b24gate client rotate erp                the old key is refused from now on
  b24gate client rotate erp --overlap 1h   it works for another hour";

pub(super) const CLIENT_REMOVE_HELP: &str = "\
Examples:
  b24gate client remove erp

Its keys are refused from the moment on that the command returns, also on connections that are open.";
