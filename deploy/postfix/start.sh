#!/bin/sh
# Starts Postfix in a container: settings from the environment, log on standard output.
set -e
cd /etc/postfix
[ -s main.cf ] || cp /usr/share/postfix/main.cf.debian main.cf
[ -s master.cf ] || cp /usr/share/postfix/master.cf.dist master.cf
grep -v -e '^#' -e '^$' mailwicket.cf | while IFS= read -r line; do postconf -e "$line"; done
postconf -e "smtpd_milters = ${MILTER:-inet:127.0.0.1:8891}" "myhostname = $(hostname)" \
	"maillog_file = /dev/stdout" "mynetworks = 127.0.0.0/8 [::1]/128" "inet_interfaces = all" \
	"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination" "alias_maps =" "alias_database ="
# In the container's own network nothing is gained by chroot, and the resolver's files would be missing there.
postconf -M -e "smtp/inet=smtp inet n - n - - smtpd" "postlog/unix-dgram=postlog unix-dgram n - n - 1 postlogd"
for service in $(postconf -M | awk '$5 == "y" || $5 == "-" { print $1 "/" $2 }'); do
	postconf -F "$service/chroot = n"
done
if [ -n "${RELAY_HOST:-}" ]; then
	postconf -e "mydestination =" "relay_domains = $MAIL_DOMAINS" "relay_transport = smtp:$RELAY_HOST"
else
	# Until RELAY_HOST says where your mail goes, all of it lands in /var/mail/inbox.
	postconf -e "mydestination = $MAIL_DOMAINS $(hostname) localhost" "local_recipient_maps =" "luser_relay = inbox" "mail_spool_directory = /var/mail"
	touch /var/mail/inbox && chown inbox:mail /var/mail/inbox
fi
exec postfix start-fg
