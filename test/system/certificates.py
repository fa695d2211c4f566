"""Certificates of all sorts, made by openssl for one run of the tests.

SPDX-License-Identifier: MIT
"""

import ssl
import subprocess

CONFIG = """
[ca]
default_ca = here
[here]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


def run(*arguments):
    done = subprocess.run(['openssl', *map(str, arguments)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Authority:
    """One that vouches for servers; `file` is what clients trust."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.file = folder / 'ca.pem'
        self.key = folder / 'ca.key'
        (folder / 'index.txt').write_text('')
        (folder / 'serial').write_text('01\n')
        (folder / 'ca.conf').write_text(CONFIG.format(folder=folder))
        run('req', '-x509', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', self.key,
            '-out', self.file, '-days', '3', '-subj', '/CN=test authority',
            '-addext', 'basicConstraints=critical,CA:TRUE',
            '-addext', 'keyUsage=critical,keyCertSign')

    def server(self, name, alternatives, start=None, end=None):
        """A context of a server; times as YYYYMMDDHHMMSSZ."""
        key = self.folder / f'{name}.key'
        request = self.folder / f'{name}.csr'
        certificate = self.folder / f'{name}.pem'
        run('req', '-new', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key,
            '-out', request, '-subj', f'/CN={name}',
            '-addext', f'subjectAltName={alternatives}')
        times = ['-days', '2']
        if end is not None:
            times = ['-startdate', start, '-enddate', end]
        run('ca', '-batch', '-config', self.folder / 'ca.conf', '-cert',
            self.file, '-keyfile', self.key, '-in', request, '-out',
            certificate, '-notext', *times)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context
