//! A client that attaches receives the present members (RTP1, RTP2, RTP18).

use capably::{CipherParams, PresenceAction::Present, realtime::RealtimeChannelOptions};

use super::*;

in_both_formats! {
    // UTS: realtime/integration/RTP2/sync-delivers-members-0
    async fn a_sync_delivers_a_member(binary) {
        let server = server().await;
        let one = named(&server, binary, "sync-member-a").await;
        let one = attached(&one, "sync").await;
        one.presence().enter().data("sync-data").await.unwrap();
        let other = client(&server, binary).await;
        let other = attached(&other, "sync").await;
        let members = other.presence().get().await.unwrap();
        assert_eq!(readable(&members), [("sync-member-a", "sync-data")]);
        assert_eq!(members[0].action, Some(Present));
        assert!(other.presence().sync_complete());
    }
}

in_both_formats! {
    // UTS: realtime/integration/RTP2/sync-multiple-members-1
    // Spec: RTP18b
    async fn a_sync_of_several_pages_delivers_all_members(binary) {
        let server = server().await;
        let one = client(&server, binary).await;
        let one = attached(&one, "sync").await;
        let mut expected = Vec::new();
        for number in 0..130 {
            let (client, data) = (format!("sync-user-{number}"), format!("data-{number}"));
            one.presence().enter_client(client.as_str()).data(data.as_str()).await.unwrap();
            expected.push((client, data));
        }
        let other = client(&server, binary).await;
        let members = other.channels().get("sync").presence().get().await.unwrap();
        expected.sort_unstable();
        let expected: Vec<_> = expected.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(readable(&members), expected);
    }
}

in_both_formats! {
    // Spec: RTP8e, RSL5a
    async fn encrypted_data_is_readable_only_with_the_key(binary) {
        let server = server().await;
        let cipher = CipherParams::from_key(&[9; 32]).unwrap();
        let options = || RealtimeChannelOptions::new().cipher(cipher.clone());
        let one = named(&server, binary, "ada").await;
        let one = one.channels().get_with("secret", options());
        one.presence().enter().data("the data").await.unwrap();
        let (with, without) = (client(&server, binary).await, client(&server, binary).await);
        let with = with.channels().get_with("secret", options());
        assert_eq!(readable(&with.presence().get().await.unwrap()), [("ada", "the data")]);
        assert_eq!(
            with.presence().history().await.unwrap().items()[0].data.as_str(),
            Some("the data")
        );
        let members = without.channels().get("secret").presence().get().await.unwrap();
        assert_eq!(members[0].encoding.as_deref(), Some("utf-8/cipher+aes-256-cbc"));
        assert_eq!(members[0].data.as_str(), None);
    }
}
