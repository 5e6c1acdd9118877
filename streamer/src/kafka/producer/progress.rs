//! How far a restore came: offsets that go with its transactions, and come back after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use strimzi_backup_format::ids::{Offset, PartitionId, TopicName};

use super::{ProducerError, TransactionalProducer};
use crate::kafka::client_config;
use crate::kafka::credentials::CredentialFiles;
use crate::kafka::error::{Code, ConfigurationFault, Error};
use crate::kafka::ffi::{self, PartitionList};

const PROGRESS: &str = "read the progress of the restore at the target";

/// librdkafka's "no offset".
const INVALID_OFFSET: i64 = -1001;

/// An offset that a group is to have committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic, which must exist at the target.
    pub topic: TopicName,
    /// The partition, which must exist at the target.
    pub partition: PartitionId,
    /// The offset; it need not be in the partition's log, and may not be below 0.
    pub offset: Offset,
    /// A text that is kept with it; brokers take 4,096 bytes unless told otherwise.
    pub metadata: Option<String>,
}

/// An offset that a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset.
    pub offset: Offset,
    /// The text that was committed with it; an empty one is told as none.
    pub metadata: Option<String>,
}

impl TransactionalProducer {
    /// What a group has committed for partitions, `None` where nothing. Transactions that are open are waited for. Makes a
    /// client of its own for it, which does not join the group, and reads the credential files.
    ///
    /// # Errors
    /// [`ProducerError::Client`]; [`Error::Unreachable`] also where `within` was not enough, and where the group is denied
    /// to the user: librdkafka looks for its coordinator until then.
    pub fn committed(
        &self,
        group: &str,
        partitions: &[(TopicName, PartitionId)],
        within: Duration,
    ) -> Result<BTreeMap<(TopicName, PartitionId), Option<CommittedOffset>>, ProducerError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (_, credentials) = CredentialFiles::read(&self.cluster).map_err(Error::Configuration)?;
        let properties = client_config::group_properties(&self.cluster, &credentials, group);
        let conf = crate::kafka::conf_of(properties).map_err(Error::Configuration)?;
        let refused = |reason| Error::Configuration(ConfigurationFault::Refused(reason));
        let client = conf.into_client(crate::kafka::refresh_token(&self.cluster)).map_err(refused)?;
        let mut list = PartitionList::new(&client, partitions.len());
        for (topic, partition) in partitions {
            list.add(topic.as_str(), partition.get(), INVALID_OFFSET, None);
        }
        let found = client.committed(&mut list, within).map_err(|code| Error::of_request(PROGRESS, Code::new(code)))?;
        let found = found.into_iter().map(committed_offset).collect::<Result<_, _>>()?;
        Ok(found)
    }
}

type Answer = ((TopicName, PartitionId), Option<CommittedOffset>);

/// Whatever cannot be read is no "nothing committed": the restore would begin again over what is there.
fn committed_offset(found: ffi::Committed) -> Result<Answer, ProducerError> {
    let refused = |code| Error::of_request(PROGRESS, code);
    if found.code != 0 {
        return Err(refused(Code::new(found.code)).into());
    }
    let topic = TopicName::new(found.topic).map_err(|_| refused(Code::BAD_MSG))?;
    let metadata = found.metadata.filter(|bytes| !bytes.is_empty()).map(String::from_utf8).transpose();
    let metadata = metadata.map_err(|_| refused(Code::BAD_MSG))?;
    let offset = (found.offset >= 0).then(|| CommittedOffset { offset: Offset::new(found.offset), metadata });
    Ok(((topic, PartitionId::new(found.partition)), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(offset: i64, code: i32, metadata: Option<&[u8]>) -> ffi::Committed {
        let metadata = metadata.map(<[u8]>::to_vec);
        ffi::Committed { topic: "t".to_owned(), partition: 3, code, offset, metadata }
    }

    #[test]
    fn what_cannot_be_read_is_not_nothing_committed() {
        let offset = |found| committed_offset(found).map(|(_, offset)| offset);
        assert_eq!(offset(found(-1001, 0, None)).ok(), Some(None));
        let committed = CommittedOffset { offset: Offset::new(7), metadata: Some("x".to_owned()) };
        assert_eq!(offset(found(7, 0, Some(b"x"))).ok(), Some(Some(committed)));
        assert!(offset(found(-1001, 88, None)).is_err(), "unstable");
        assert!(offset(found(7, 0, Some(&[0xff]))).is_err());
    }
}
