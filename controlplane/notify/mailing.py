"""Mail over SMTP: to an address that was checked, over TLS with a verified certificate."""

import logging
import smtplib
import socket
import ssl
from email.message import EmailMessage

from contracts.errors import InvalidInput
from controlplane.notify.egress import Address, Reach, connect, resolve
from controlplane.notify.settings import Encryption, Mail

TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


def send_mail(mail: Mail, message: EmailMessage, password: str, may_reach: Reach) -> str:
    """Hand a message to the mail server once; return why it was not taken, "" when it was."""
    try:
        address = resolve(mail.host, mail.port, may_reach)
        if mail.encryption is Encryption.NONE and not address.is_loopback:
            return "a mail server beyond this machine needs TLS"
        with _connect(mail, address) as server:
            if mail.encryption is Encryption.STARTTLS:
                server.starttls(context=ssl.create_default_context())
            if mail.user is not None:
                server.login(mail.user, password)
            refused = server.send_message(message)
            if refused:
                # The others have it: sending it again would not help.
                log.warning("the mail server took no mail for %d of %d recipients", len(refused), len(mail.to))
            return ""
    except InvalidInput as error:
        return error.message
    except smtplib.SMTPResponseException as error:
        # The server's own words may repeat what was sent to log in.
        return f"the mail server answered {error.smtp_code}"
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"


def _connect(mail: Mail, address: Address) -> smtplib.SMTP:
    kind = _Pinned if mail.encryption is not Encryption.TLS else _PinnedTls
    return kind(mail.host, mail.port, address)


class _Pinned(smtplib.SMTP):
    """Connects to the address that was checked; certificates are still held against the host's name."""

    def __init__(self, host: str, port: int, address: Address) -> None:
        self._address = address
        super().__init__(host, port, timeout=TIMEOUT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return connect(self._address, port, timeout)


class _PinnedTls(_Pinned):
    """The same, with TLS from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
