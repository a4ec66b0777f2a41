//! Reading objects as types of the program.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::in_both_formats;

#[derive(Debug, PartialEq, Deserialize)]
struct Root {
    name: String,
    age: u8,
    active: bool,
    score: i64,
    profile: Profile,
    data: Tags,
    avatar: Vec<u8>,
    absent: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Profile {
    email: String,
    nested_counter: f64,
    prefs: BTreeMap<String, Theme>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Tags {
    tags: Vec<char>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Theme {
    Dark,
    Light,
}

in_both_formats! {
    async fn a_tree_is_read_as_a_struct(format) {
        let (_world, root) = World::synced(format).await;
        let whole: Root = root.read_as().unwrap().unwrap();
        let expected = Root {
            name: "Alice".to_owned(),
            age: 30,
            active: true,
            score: 100,
            profile: Profile {
                email: "alice@example.com".to_owned(),
                nested_counter: 5.0,
                prefs: [("theme".to_owned(), Theme::Dark)].into(),
            },
            data: Tags { tags: vec!['a', 'b'] },
            avatar: vec![1, 2, 3],
            absent: None,
        };
        assert_eq!(whole, expected);
        assert_eq!(root.at("profile.prefs.theme").read_as().unwrap(), Some(Theme::Dark));
        assert_eq!(root.get("score").read_as::<f32>().unwrap(), Some(100.0));
        assert_eq!(root.get("nothing").read_as::<u32>().unwrap(), None);
        let score = root.get("score").instance().unwrap().unwrap();
        assert_eq!(score.read_as::<u64>().unwrap(), Some(100));
    }
}

in_both_formats! {
    async fn another_type_or_a_cycle_is_an_error(format) {
        #[derive(Debug, Deserialize)]
        struct Cycle {
            #[serde(rename = "prefs", alias = "back_ref")]
            _next: Box<Cycle>,
        }
        let (world, root) = World::synced(format).await;
        let refused = root.get("name").read_as::<u32>().unwrap_err();
        assert_eq!((refused.code().0, refused.status()), (40013, Some(400)));
        assert!(refused.message().contains("string"), "{refused}");
        assert_eq!(refusal(root.get("profile").read_as::<bool>()), (40013, Some(400)));
        let back = ObjectData::reference("map:profile@1000");
        world.operate([map_set("map:prefs@1000", "back_ref", back, "99", "remote")]).await;
        assert_eq!(refusal(root.get("profile").read_as::<Cycle>()), (40013, Some(400)));
    }
}
