//! Objects over REST, against the server.

use std::collections::BTreeMap;

use capably::{
    ChannelMode,
    realtime::RealtimeChannelOptions,
    rest::objects::{
        LiveCounter, LiveMap, NewObject, ObjectValue, ObjectsMapSemantics, Path, RestObject,
        RestObjectValue,
    },
};
use serde::Deserialize;
use serde_json::json;

use crate::in_both_formats;

fn code(error: &capably::Error) -> (u32, Option<u16>) {
    (error.code().0, error.status())
}

in_both_formats! {
    async fn every_type_of_value_is_set_and_read(app) {
        let objects = app.rest().channels().get("objects").objects();
        assert_eq!(objects.get().await.unwrap(), json!({}), "there is always the root");
        let root = objects.at("");
        let leaves: [(&str, RestObjectValue, ObjectValue); 5] = [
            ("b", true.into(), ObjectValue::Boolean(true)),
            ("by", vec![0, 255].into(), ObjectValue::Bytes(vec![0, 255].into())),
            ("n", (-1.5).into(), ObjectValue::Number(-1.5)),
            ("s", "AP8=".into(), ObjectValue::String("AP8=".into())),
            ("j", json!({"a": [1]}).into(), ObjectValue::Json(json!({"a": [1]}))),
        ];
        for (key, value, expected) in leaves {
            let published = root.set(key, value).await.unwrap();
            assert_eq!(published.object_ids, ["root"]);
            assert_eq!(published.channel, "objects");
            assert!(!published.message_id.is_empty());
            let leaf = objects.at(key).get().full().await.unwrap();
            assert_eq!(leaf, RestObject::Leaf(expected.clone()));
            assert_eq!(leaf.value(), Some(expected));
        }
        root.remove("b").await.unwrap();
        let compact = json!({"by": "AP8=", "n": -1.5, "s": "AP8=", "j": "{\"a\":[1]}"});
        assert_eq!(objects.get().await.unwrap(), compact, "the same in both formats");
        let full = objects.get().full().await.unwrap();
        let json = json!({"by": "AP8=", "n": -1.5, "s": "AP8=", "j": {"a": [1]}});
        assert_eq!(full.compact_json(), json);
        let RestObject::Map(map) = full else { panic!("{full:?}") };
        assert_eq!((&*map.object_id, map.semantics), ("root", ObjectsMapSemantics::Lww));
        assert_eq!(objects.at("by").get().await.unwrap(), "AP8=");
    }
}

in_both_formats! {
    async fn maps_and_counters_are_made_at_any_depth(app) {
        let objects = app.rest().channels().get("objects").objects();
        let poll = LiveMap::new()
            .with("title", "Tea?")
            .with("votes", LiveMap::new().with("yes", LiveCounter::new(1.0)).with("no", LiveCounter::default()));
        let published = objects.at("").set("poll", poll.clone()).await.unwrap();
        let types = published.object_ids[..4].iter().map(|id| id.split(':').next().unwrap());
        assert_eq!(types.collect::<Vec<_>>(), ["counter", "counter", "map", "map"]);
        let made = objects.at("again").create(poll).await.unwrap();
        assert_eq!(made.object_ids.len(), 4);
        let expected = json!({"title": "Tea?", "votes": {"no": 0, "yes": 1}});
        assert_eq!(objects.get().await.unwrap(), json!({"poll": expected, "again": expected}));

        objects.at("poll.votes.yes").increment(2).await.unwrap();
        objects.at("poll.votes.no").decrement(1.5).await.unwrap();
        let full = objects.get().full().await.unwrap();
        let yes = full.at("poll.votes.yes").unwrap();
        assert_eq!(yes.value(), Some(ObjectValue::Number(3.0)));
        let id = yes.object_id().unwrap().clone();
        assert!(id.starts_with("counter:"));
        let counter = objects.object(id.clone());
        counter.increment(10).await.unwrap();
        assert_eq!(counter.get().await.unwrap(), 13);
        let RestObject::Counter(counter) = counter.get().full().await.unwrap() else { panic!("{id}") };
        assert_eq!((counter.object_id, counter.count), (id, 13.0));
        assert_eq!(full.at("again.votes.no").unwrap().read_as::<i8>().unwrap(), 0);

        // A path from an object.
        let votes = objects.object(full.at("poll.votes").unwrap().object_id().unwrap().clone());
        assert_eq!(votes.get().path("no").await.unwrap(), -1.5);
        votes.set("maybe", 1).await.unwrap();
        votes.remove("no").await.unwrap();
        assert_eq!(votes.get().await.unwrap(), json!({"maybe": 1, "yes": 13}));
    }
}

in_both_formats! {
    async fn objects_are_read_as_types_of_the_program(app) {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Poll {
            title: String,
            open: bool,
            votes: BTreeMap<String, u32>,
            icon: Vec<u8>,
            style: Style,
            kind: Kind,
            limit: Option<f32>,
            closes: Option<u64>,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Style {
            colours: Vec<String>,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Kind {
            Single,
            Several { most: u8 },
        }
        let objects = app.rest().channels().get("objects").objects();
        let votes = LiveMap::new().with("tea", LiveCounter::new(3.0)).with("coffee", LiveCounter::default());
        let poll = LiveMap::new()
            .with("title", "Tea?")
            .with("open", true)
            .with("votes", votes)
            .with("icon", vec![1, 2])
            .with("style", json!({"colours": ["red"]}))
            .with("kind", LiveMap::new().with("several", LiveMap::new().with("most", 2)))
            .with("limit", 0.5);
        objects.at("").set("poll", poll).await.unwrap();
        let read: Poll = objects.at("poll").get().read_as().await.unwrap();
        let votes = [("tea".to_owned(), 3), ("coffee".to_owned(), 0)].into();
        assert_eq!(
            read,
            Poll {
                title: "Tea?".to_owned(),
                open: true,
                votes,
                icon: vec![1, 2],
                style: Style { colours: vec!["red".to_owned()] },
                kind: Kind::Several { most: 2 },
                limit: Some(0.5),
                closes: None,
            }
        );
        objects.at("poll").set("kind", "single").await.unwrap();
        assert_eq!(objects.at("poll.kind").get().read_as::<Kind>().await.unwrap(), Kind::Single);
        let error = objects.at("poll.title").get().read_as::<u32>().await.unwrap_err();
        assert_eq!(code(&error), (40013, Some(400)));
        let error = objects.get().read_as::<BTreeMap<String, u32>>().await.unwrap_err();
        assert_eq!(code(&error), (40013, Some(400)));
    }
}

in_both_formats! {
    async fn paths_have_escapes_and_wildcards(app) {
        let objects = app.rest().channels().get("objects").objects();
        let odd = LiveMap::from_iter(["a.b", "*", "plain", "c d/é?&#%", r"back\slash"].map(|key| {
            (key, LiveMap::new().with("n", LiveCounter::default()))
        }));
        objects.at("").set("odd", odd).await.unwrap();
        objects.at(r"odd.a\.b.n").increment(1).await.unwrap();
        objects.at(r"odd.\*.n").increment(2).await.unwrap();
        objects.at("odd.c d/é?&#%.n").increment(4).await.unwrap();
        objects.at(r"odd.back\slash.n").increment(8).await.unwrap();
        // A path of keys has no wildcards.
        for key in ["a.b", "*", "plain"] {
            let path = Path::from_iter(["odd", key, "n"]);
            objects.at(&path).increment(100).await.unwrap();
        }
        let all = objects.at("odd.*.n").increment(1000).await.unwrap();
        assert_eq!(all.object_ids.len(), 5);
        let n = |n: u32| json!({"n": n});
        assert_eq!(
            objects.at("odd").get().await.unwrap(),
            json!({
                "a.b": n(1101), "*": n(1102), "plain": n(1100), "c d/é?&#%": n(1004),
                r"back\slash": n(1008),
            })
        );
        assert_eq!(objects.at(r"odd.a\.b.n").get().await.unwrap(), 1101);
        assert_eq!(objects.at(Path::from_iter(["odd", "*", "n"])).get().await.unwrap(), 1102);
        let error = objects.at("odd.*").get().await.unwrap_err();
        assert_eq!(code(&error), (40003, Some(400)));
    }
}

in_both_formats! {
    async fn generated_ids_may_be_used_in_the_batch_that_makes_the_objects(app) {
        let objects = app.rest().channels().get("objects").objects();
        let likes = objects.generate_id(LiveCounter::new(1.0)).await.unwrap();
        assert_eq!(likes.initial_value(), r#"{"count":1}"#);
        let post = NewObject::map([
            ("title", RestObjectValue::from("Tea")),
            ("likes", (&likes).into()),
            ("tags", LiveMap::new().with("green", true).into()),
        ]);
        let post = objects.generate_id(post).await.unwrap();
        let id = post.object_id().clone();
        let root = objects.at("");
        let changes = [
            root.set("first", &post),
            root.set("second", &objects.object(id.clone())),
            root.set("third", RestObjectValue::reference(id.clone())),
        ];
        let batch = [objects.create_with_id(likes.clone()), objects.create_with_id(post)];
        let published = objects.batch(batch.into_iter().chain(changes)).await.unwrap();
        assert_eq!(&published.object_ids[0], likes.object_id());
        assert_eq!(published.object_ids[2], id, "after the map within it");
        objects.at("third.likes").increment(1).await.unwrap();
        let expected = json!({"title": "Tea", "likes": 2, "tags": {"green": true}});
        assert_eq!(objects.get().await.unwrap(), json!({
            "first": expected, "second": expected, "third": expected,
        }));
        // One that is made on its own.
        let alone = objects.create(LiveCounter::new(7.0)).await.unwrap();
        assert_eq!(objects.object(alone.object_ids[0].clone()).get().await.unwrap(), 7);
    }
}

in_both_formats! {
    async fn a_batch_is_applied_in_order_and_as_a_whole(app) {
        let objects = app.rest().channels().get("objects").objects();
        objects
            .batch([
                objects.at("n").create(LiveCounter::default()),
                objects.at("n").increment(1),
                objects.at("m").create(LiveMap::new()),
                objects.at("m").set("k", "v"),
            ])
            .await
            .unwrap();
        assert_eq!(objects.get().await.unwrap(), json!({"n": 1, "m": {"k": "v"}}));
        let changes = [objects.at("n").increment(1), objects.at("nothing").increment(1)];
        let error = objects.batch(changes).await.unwrap_err();
        assert_eq!(code(&error), (92005, Some(404)));
        assert_eq!(objects.at("n").get().await.unwrap(), 1);
        // With the same id, a publish has no effect.
        for _ in 0..2 {
            objects.at("n").increment(1).id("one").await.unwrap();
            objects.batch([objects.at("n").increment(10), objects.at("n").increment(10)]).id("two").await.unwrap();
            let pair = LiveMap::new().with("c", LiveCounter::default());
            objects.at("").set("pair", pair).id("three").await.unwrap();
        }
        assert_eq!(objects.at("n").get().await.unwrap(), 22);
    }
}

in_both_formats! {
    async fn a_cycle_ends_with_an_id(app) {
        let objects = app.rest().channels().get("objects").objects();
        objects.at("m").create(LiveMap::new()).await.unwrap();
        let full = objects.at("m").get().full().await.unwrap();
        let map = objects.object(full.object_id().unwrap().clone());
        map.set("self", &map).await.unwrap();
        map.set("up", RestObjectValue::reference("root")).await.unwrap();
        let full = objects.get().full().await.unwrap();
        assert_eq!(full.at("m.self"), Some(&RestObject::Reference(map.id().clone())));
        assert_eq!(full.at("m.up"), Some(&RestObject::Reference("root".into())));
        let cut = json!({"m": {"self": {"objectId": map.id().as_str()}, "up": {"objectId": "root"}}});
        assert_eq!(full.compact_json(), cut);
        assert_eq!(objects.get().await.unwrap(), cut);
        assert_eq!(objects.get().read_as::<serde_json::Value>().await.unwrap(), cut);
    }
}

in_both_formats! {
    async fn objects_that_nest_too_deep_are_read_in_parts(app) {
        let objects = app.rest().channels().get("objects").objects();
        let deep = (0..40).fold(LiveMap::new().with("end", 1), |map, _| LiveMap::new().with("k", map));
        objects.at("").set("k", deep).await.unwrap();
        let compact = objects.get().await.unwrap();
        assert_eq!(compact.pointer(&format!("{}/end", "/k".repeat(41))), Some(&json!(1)));
        let error = objects.get().full().await.unwrap_err();
        assert_eq!(code(&error), (40013, Some(400)));
        assert_eq!(error.remediation(), Some("read a part of the objects, by its path or id"));
        let path = Path::from_iter(["k"; 20]);
        let part = objects.at(&path).get().full().await.unwrap();
        let rest = format!("{}end", "k.".repeat(21));
        assert_eq!(part.at(&rest), Some(&RestObject::Leaf(ObjectValue::Number(1.0))));
    }
}

in_both_formats! {
    async fn refusals_have_their_codes(app) {
        let objects = app.rest().channels().get("objects").objects();
        let start = LiveMap::new().with("n", LiveCounter::default()).with("leaf", "text");
        objects.at("").set("m", start).await.unwrap();
        let unknown = "counter:J7x6mAF8X5Ha60VBZb6GtXSgnKJQagNLgadUlgICjkk@1734628392000";
        for (write, expected) in [
            (objects.at("m.n").set("k", 1), (92007, Some(400))),
            (objects.at("m").increment(1), (92007, Some(400))),
            (objects.at("m.leaf").increment(1), (92007, Some(400))),
            (objects.at("m.nothing").increment(1), (92005, Some(404))),
            (objects.at("nothing.k").create(LiveMap::new()), (92005, Some(404))),
            (objects.object(unknown).increment(1), (92004, Some(404))),
            (objects.at("").set("k", RestObjectValue::reference("no id")), (92000, Some(400))),
        ] {
            let text = format!("{write:?}");
            let error = write.await.unwrap_err();
            assert_eq!(code(&error), expected, "{text}");
            let remedy = error.remediation();
            assert_eq!(remedy.is_some(), expected.0 != 92000, "{text}: {error}");
        }
        for (get, expected) in [
            (objects.object(unknown).get(), (92004, Some(404))),
            (objects.object("../status").get(), (92004, Some(404))),
            (objects.at("m.leaf.k").get(), (92005, Some(404))),
        ] {
            let text = format!("{get:?}");
            assert_eq!(code(&get.clone().full().await.unwrap_err()), expected, "{text}");
            let error = get.await.unwrap_err();
            assert_eq!(code(&error), expected, "{text}");
            assert!(error.remediation().is_some(), "{error}");
        }
        // This key may subscribe only.
        let limited = app.rest_with(|options| options.key(app.key(3)));
        let objects = limited.channels().get("objects").objects();
        let error = objects.at("m.n").increment(1).await.unwrap_err();
        assert_eq!(code(&error), (40160, Some(401)));
        let error = objects.get().await.unwrap_err();
        assert_eq!(code(&error), (40160, Some(401)));
    }
}

in_both_formats! {
    async fn a_realtime_client_sees_the_changes(app) {
        let client = app.realtime().await;
        let modes = [ChannelMode::ObjectSubscribe];
        let channel = client.channels().get_with("objects", RealtimeChannelOptions::new().modes(modes));
        let root = channel.objects().get().await.unwrap();
        let mut changes = root.subscribe().await.unwrap();
        let objects = app.rest().channels().get("objects").objects();
        objects.at("n").create(LiveCounter::new(2.0)).await.unwrap();
        objects.at("n").increment(1).await.unwrap();
        while root.get("n").value().unwrap() != Some(ObjectValue::Number(3.0)) {
            changes.next().await.unwrap();
        }
        client.close().await;
    }
}
