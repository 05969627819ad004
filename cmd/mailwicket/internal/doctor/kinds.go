package doctor

// Kinds gives all findings that there are, in the order of the manual.
func Kinds() []Kind {
	var out []Kind
	for _, group := range [][]Kind{clientKinds(), mtaKinds(), redisKinds(), listKinds(), serverKinds()} {
		out = append(out, group...)
	}
	return out
}

func clientKinds() []Kind {
	return []Kind{
		{"client-nat", Problem,
			"Half of the recent messages or more come from one private or loopback address (nine tenths, if we trust it). That is a NAT gateway, a proxy or Docker's userland proxy, not the sender: SPF, greylisting and DNS lists judge the wrong client.",
			"Let the MTA see the real client: host network or no userland proxy in Docker, the PROXY protocol behind a proxy (docker.md)."},
		{"macros-missing", Warning,
			"The MTA does not tell what we ask for, in over half of the cases: without `i` there is no queue id, without `{client_ptr}` and `{client_resolve}` no name of the client, without `{auth_authen}` no login.",
			"Name the macros in the MTA's configuration, with the lines that are printed."},
		{"authserv-id", Warning,
			"`authserv_id` is not set, and the MTA gives no full host name (macro `j`). Results are reported under a name that is not yours, and forged ones of your name are not removed.",
			"Set `authserv_id` to the MTA's host name."},
	}
}

func mtaKinds() []Kind {
	return []Kind{
		{"mta-unknown", Info,
			"The MTA's settings were not found, so its time limits were not compared with ours. The running server never looks at them.",
			"Run doctor on the MTA's machine, or name the file with `--main-cf` or `--sendmail-mc`."},
		{"mta-not-attached", Problem,
			"No milter of the MTA has one of our addresses: mail passes unfiltered.",
			"Add us to `smtpd_milters` (Postfix) or with INPUT_MAIL_FILTER (Sendmail)."},
		{"mta-command-timeout", Problem,
			"The MTA gives up before we must have answered. Mail is then put off, or passes unfiltered for the rest of the session. Sendmail's R: covers the end of the header too.",
			"Raise the MTA's time limit, or lower `milter.command_timeout`."},
		{"mta-content-timeout", Problem,
			"The same for the end of the header (20s, or `milter.message_timeout` if that is shorter) and, with Sendmail, of the message.",
			"Raise the MTA's time limit, or lower `milter.message_timeout`."},
		{"mta-content-short", Warning,
			"Postfix waits for less than `milter.message_timeout`. Only our progress packets, one every 10 seconds, keep it waiting.",
			"Raise `milter_content_timeout`."},
		{"mta-connect-timeout", Warning,
			"The MTA waits less than two seconds for a connection: a busy machine takes longer now and then.",
			"Raise the limit, 30s is usual."},
		{"mta-default-action", Warning,
			"While the filter is away the MTA lets mail pass unfiltered, or refuses it for good.",
			"Let it answer 451: the senders come again."},
		{"mta-protocol", Problem,
			"The MTA speaks an old version of the milter protocol. Header fields then come without their exact blanks, and DKIM signatures with `c=simple` fail.",
			"Take `milter_protocol` out of main.cf; 6 is the default."},
		{"mta-local-mail", Warning,
			"The filter is asked about mail that local programs submit (`non_smtpd_milters`). A recipient refused there stays in the maildrop and is tried for ever.",
			"Take it out of `non_smtpd_milters`."},
	}
}

func redisKinds() []Kind {
	return []Kind{
		{"redis-down", Problem,
			"Redis cannot be reached, or refuses our login. Greylisting, rates and lists work from this filter's memory alone.",
			"Look at Redis, the address, and the password."},
		{"redis-eviction", Problem,
			"Redis may throw any key away when it is full (`allkeys-*`): known senders are greylisted again.",
			"Set `maxmemory-policy noeviction`."},
		{"redis-eviction-volatile", Warning,
			"Redis throws keys with a lifetime away when it is full (`volatile-*`, but for `volatile-ttl`): known senders are greylisted again.",
			"Set `maxmemory-policy noeviction`, or `volatile-ttl`."},
		{"redis-persistence", Warning,
			"Redis keeps nothing on disk, or its last write there failed: a restart forgets the greylist and the lists in Redis.",
			"Switch snapshots on; an occasional one is enough."},
		{"redis-old", Problem,
			"Redis is older than version 5, where scripts that ask the time may not write: rates do not work.",
			"Update Redis."},
		{"redis-replica", Problem,
			"The server is a replica, and takes no writes.",
			"Name the master, or Sentinel, in `redis.url`."},
		{"redis-hidden", Info,
			"Our Redis user may not ask INFO, so version, eviction and persistence were not looked at.",
			"Allow `+info +time +config|get`, if you want them looked at."},
		{"clock-redis", Warning,
			"Our clock and that of Redis are over 5 seconds apart. Filters that share a greylist must agree on the time.",
			"Let NTP set both clocks."},
	}
}

func listKinds() []Kind {
	return []Kind{
		{"dns-down", Problem,
			"No DNS server answers. SPF, DKIM and DMARC give temperror, and some mail is put off.",
			"Look at the servers, or name others in `dns.servers`."},
		{"dns-server-silent", Warning,
			"One of several DNS servers does not answer. Lookups wait for it now and then.",
			"Look at it, or take it out of `dns.servers`."},
		{"dns-public", Warning,
			"DNS lists are asked through a public resolver. Most refuse that, or count all its users as one.",
			"Run a resolver of your own (unbound) and name it in `dns.servers`."},
		{"dnsbl-refused", Problem,
			"A DNS list answers 127.255.255.x: it does not serve us. It is not asked any more.",
			"Ask through a resolver of your own, get a key, or take the zone out."},
		{"dnsbl-poisoned", Problem,
			"A DNS list lists what it must not, or somebody else answers in its place. It is not asked any more; its hits would be worth nothing.",
			"Look whether the list still exists. If it does, your resolver lies about it: use another one."},
		{"dnsbl-out-of-service", Warning,
			"A DNS list gives no answer, or does not have its test entry. It is not asked until it does.",
			"Wait, or take the zone out if the list is gone."},
		{"list-not-loaded", Problem,
			"A list has never been read: nothing is on it.",
			"The text says what is wrong with file or feed."},
		{"list-stale", Warning,
			"The newest version of a list cannot be read, or its feed was not found good for a day (three times `every`, if that is longer). The last good copy is in force.",
			"The text says what is wrong with file or feed."},
		{"feed-failing", Warning,
			"The last try to fetch a feed failed.",
			"Look at the address; what is wrong is told. A size that was refused and is right passes with `mailwicket list confirm`."},
		{"clock-feed", Warning,
			"The clock of a feed's server and ours are over a minute apart.",
			"Let NTP set our clock. If only one of several feeds says so, its clock is the wrong one."},
	}
}

func serverKinds() []Kind {
	return []Kind{
		{"server-down", Warning,
			"No running server answered, so nothing that only it knows was looked at.",
			"Start it, or name its address with `--admin` and its token with `--token-file`."},
		{"config-bad", Problem,
			"The configuration file has problems: a server would not start with it.",
			"See `mailwicket config check`."},
		{"reload-failed", Problem,
			"The configuration on disk was refused, the old one is in force.",
			"See `mailwicket config check`."},
		{"restart-needed", Info,
			"Keys have changed that only a restart can change.",
			"Restart the service when it suits."},
		{"greylist-fallback", Problem,
			"Greylisting is decided from memory: the store does not work.",
			"Look at Redis, or at the disk of data_dir."},
		{"degraded", Warning,
			"A dependency does not work that has no finding of its own.",
			"The text says what is wrong."},
		{"journal-lost", Warning,
			"Decisions were not journalled in the last hour: the disk is slow or full. They cannot be explained.",
			"Look at the disk of data_dir."},
		{"admin-open", Problem,
			"The admin address is open to other machines without a token: they can read mail addresses and change the state.",
			"Set `admin.token_file`, or let the socket unit listen on loopback."},
		{"data-dir-unwritable", Problem,
			"Nothing can be written to data_dir: the greylist file, the journal and the copies of lists stand still.",
			"Make it the filter's own, and not read-only."},
		{"data-dir-full", Warning,
			"Less than 5 % (and 10 GiB), or less than 1 GiB (and a quarter), is free on the disk of data_dir; or nothing more can be written there, for lack of space or quota.",
			"Make room, or lower `journal.max_size` or `journal.keep`."},
	}
}
