//! The properties file of a broker.

use std::fmt::Write;
use std::path::Path;

use crate::certs::Certs;
use crate::ports::Port;

/// SCRAM user (SHA-256 and SHA-512) and its password, known to every broker.
pub const SCRAM_BACKUP: (&str, &str) = ("backup", "backup-secret");
/// SCRAM user (SHA-512) and its password, known to every broker; a super user of secure brokers.
pub const SCRAM_ADMIN: (&str, &str) = ("admin", "admin-secret");

/// What a broker has beyond the defaults.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    /// Properties that are added to, or replace, the harness's own.
    pub properties: Vec<(String, String)>,
    /// Adds the listeners SSL (client certificate required), SASL_SSL (SCRAM-SHA-512, SCRAM-SHA-256, PLAIN) and
    /// OAUTHBEARER (SASL_SSL with unsecured tokens), and turns on ACLs; the plain listener stays, as super user.
    pub secure: bool,
    /// Adds a remote log on a local directory, for topics with `remote.storage.enable=true`.
    pub tiered_storage: bool,
    /// Address that the plain listener advertises instead of its own, for a proxy in front; not for clusters.
    pub advertised: Option<String>,
    /// The name that pods reach it by: all listeners but the internal one advertise it with their own ports, and take
    /// connections at all addresses.
    pub host: Option<String>,
    /// Arguments for the Java process.
    pub jvm: Vec<String>,
}

impl BrokerOptions {
    /// Adds or replaces a property.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> BrokerOptions {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// See [`BrokerOptions::secure`].
    #[must_use]
    pub fn secure(mut self) -> BrokerOptions {
        self.secure = true;
        self
    }

    /// See [`BrokerOptions::tiered_storage`].
    #[must_use]
    pub fn tiered_storage(mut self) -> BrokerOptions {
        self.tiered_storage = true;
        self
    }

    /// See [`BrokerOptions::advertised`].
    #[must_use]
    pub fn advertised(mut self, address: &str) -> BrokerOptions {
        self.advertised = Some(address.to_owned());
        self
    }

    /// See [`BrokerOptions::host`].
    #[must_use]
    pub fn host(mut self, name: &str) -> BrokerOptions {
        self.host = Some(name.to_owned());
        self
    }
}

/// The ports of one broker.
#[derive(Debug)]
pub(super) struct BrokerPorts {
    pub(super) plain: Port,
    /// For brokers among themselves and for the harness, so that a proxy's faults do not reach either.
    pub(super) internal: Port,
    pub(super) controller: Port,
    pub(super) secure: Option<SecurePorts>,
}

/// The ports of the listeners with security.
#[derive(Debug)]
pub(super) struct SecurePorts {
    pub(super) ssl: Port,
    pub(super) sasl: Port,
    pub(super) oauth: Port,
}

/// What the file of one broker depends on.
pub(super) struct BrokerLayout<'a> {
    pub(super) node: i32,
    /// `id@host:port` of every controller.
    pub(super) voters: &'a str,
    /// How many brokers there are.
    pub(super) brokers: usize,
    pub(super) ports: &'a BrokerPorts,
    pub(super) dir: &'a Path,
    pub(super) certs: Option<&'a Certs>,
}

/// Renders the file. Later lines win over earlier ones, so the options' properties come last.
pub(super) fn render(layout: &BrokerLayout<'_>, options: &BrokerOptions) -> String {
    let mut text = listeners(layout, options);
    text.push_str(&defaults(layout.brokers));
    let _ = writeln!(text, "node.id={}", layout.node);
    let _ = writeln!(text, "broker.rack=rack-{}", layout.node);
    let _ = writeln!(text, "controller.quorum.voters={}", layout.voters);
    let _ = writeln!(text, "log.dirs={}", layout.dir.join("data").display());
    if let Some(certs) = layout.certs {
        text.push_str(&security(certs));
    }
    if options.tiered_storage {
        text.push_str(&tiered_storage(layout.dir));
    }
    for (key, value) in &options.properties {
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

fn listeners(layout: &BrokerLayout<'_>, options: &BrokerOptions) -> String {
    let ports = layout.ports;
    let mut own = vec![("PLAINTEXT", &ports.plain)];
    if let Some(secure) = &ports.secure {
        own.extend([("SSL", &secure.ssl), ("SASL_SSL", &secure.sasl), ("OAUTH", &secure.oauth)]);
    }
    let at = |address: &dyn Fn(&Port) -> String| own.iter().map(|(name, port)| (*name, address(port))).collect();
    let (mut listeners, mut advertised): (Vec<_>, Vec<_>) = match &options.host {
        Some(host) => (at(&Port::everywhere), at(&|port| format!("{host}:{}", port.number()))),
        None => (at(&Port::address), at(&Port::address)),
    };
    if let Some(address) = &options.advertised {
        advertised[0].1.clone_from(address);
    }
    let internal = ("INTERNAL", ports.internal.address());
    listeners.push(internal.clone());
    advertised.push(internal);
    listeners.push(("CONTROLLER", ports.controller.address()));
    let join = |pairs: &[(&str, String)]| {
        pairs.iter().map(|(name, address)| format!("{name}://{address}")).collect::<Vec<_>>().join(",")
    };
    format!(
        "process.roles=broker,controller\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=INTERNAL\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,OAUTH:SASL_SSL\n\
         listeners={}\n\
         advertised.listeners={}\n",
        join(&listeners),
        join(&advertised)
    )
}

fn defaults(brokers: usize) -> String {
    let (replicas, in_sync) = if brokers > 1 { (brokers, 2) } else { (1, 1) };
    format!(
        "num.network.threads=2\n\
         num.io.threads=4\n\
         num.recovery.threads.per.data.dir=2\n\
         background.threads=2\n\
         auto.create.topics.enable=false\n\
         num.partitions=1\n\
         default.replication.factor={replicas}\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor={replicas}\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={in_sync}\n\
         share.coordinator.state.topic.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n\
         group.initial.rebalance.delay.ms=0\n\
         group.consumer.heartbeat.interval.ms=1000\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         log.cleaner.threads=1\n\
         log.cleaner.backoff.ms=500\n\
         log.retention.check.interval.ms=1000\n\
         log.segment.delete.delay.ms=500\n\
         log.initial.task.delay.ms=500\n\
         transaction.max.timeout.ms=900000\n"
    )
}

fn security(certs: &Certs) -> String {
    let oauth = "listener.name.oauth.oauthbearer.sasl.jaas.config=\
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    format!(
        "ssl.keystore.type=PEM\n\
         ssl.keystore.location={key_store}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={ca}\n\
         listener.name.ssl.ssl.client.auth=required\n\
         listener.name.ssl.ssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/$1/,DEFAULT\n\
         listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_backup=\"backup-secret\" \
         user_admin=\"admin-secret\";\n\
         listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER\n\
         {oauth}\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=false\n\
         super.users=User:admin;User:ANONYMOUS\n",
        key_store = certs.key_store("broker").display(),
        ca = certs.ca().display(),
    )
}

fn tiered_storage(dir: &Path) -> String {
    format!(
        "remote.log.storage.system.enable=true\n\
         remote.log.storage.manager.class.name=org.apache.kafka.server.log.remote.storage.LocalTieredStorage\n\
         remote.log.storage.manager.impl.prefix=rsm.config.\n\
         rsm.config.dir={}\n\
         remote.log.metadata.manager.listener.name=INTERNAL\n\
         remote.log.metadata.manager.impl.prefix=rlmm.config.\n\
         rlmm.config.remote.log.metadata.topic.replication.factor=1\n\
         rlmm.config.remote.log.metadata.topic.num.partitions=1\n\
         remote.log.manager.task.interval.ms=1000\n",
        dir.join("tiered").display()
    )
}
