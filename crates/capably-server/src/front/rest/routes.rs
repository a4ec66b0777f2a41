//! The table of all routes.

use capably_protocol::ErrorInfo;

use super::{
    access, annotations, apps, batch, call::Call, channels, chat, messages, objects, observation,
    presence, push, rules, stats, time, tokens,
};
use crate::{front::http::reply::Reply, hub::error};

/// Turns the rows of the table into a `match`, so that the compiler checks the arguments of each handler.
///
/// A row has a method, a path whose names are the handler's arguments, a right, and the handler. The rights:
///
/// - `open`: no credentials.
/// - `provision`: permission to create apps.
/// - `client`: credentials of an app; the handler gets the app and the identity.
/// - `room`: as `client`; the handler gets the room.
/// - `push`: credentials of an app or of a device; the handler gets the app and the caller.
/// - `own`: the handler checks the credentials itself, because the right depends on the path or on the body.
macro_rules! routes {
    ($call:ident, $path:ident: $(
        $method:ident [$($segment:tt),*] $right:ident $resource:ident::$handler:ident($($argument:ident),*);
    )*) => {
        match (&*$call.method, &$path[..]) {
            $((&hyper::Method::$method, [$($segment),*]) => {
                observation::route(concat!($(routes!(@template $segment)),*));
                $call.check_body()?;
                routes!(@$right $call, $resource, $handler, $($argument),*)
            })*
            _ => Err(error::not_found()),
        }
    };
    (@template $segment:literal) => { concat!("/", $segment) };
    (@template $segment:ident) => { concat!("/{", stringify!($segment), "}") };
    (@open $call:ident, $resource:ident, $handler:ident, $($argument:ident),*) => {
        $resource::$handler($call, $($argument),*).await
    };
    (@own $call:ident, $resource:ident, $handler:ident, $($argument:ident),*) => {
        $resource::$handler($call, $($argument),*).await
    };
    (@provision $call:ident, $resource:ident, $handler:ident, $($argument:ident),*) => {{
        access::provision($call)?;
        $resource::$handler($call, $($argument),*).await
    }};
    (@client $call:ident, $resource:ident, $handler:ident, $($argument:ident),*) => {{
        let (app, identity) = access::client($call)?;
        $resource::$handler($call, &app, &identity, $($argument),*).await
    }};
    (@room $call:ident, $resource:ident, $handler:ident, $room:ident $(, $argument:ident)*) => {{
        let (app, identity) = access::client($call)?;
        let room = $resource::Room::new($call, &app, &identity, $room)?;
        $resource::$handler(&room, $($argument),*).await
    }};
    (@push $call:ident, $resource:ident, $handler:ident, $($argument:ident),*) => {{
        let (app, caller) = access::push($call)?;
        $resource::$handler($call, &app, &caller, $($argument),*).await
    }};
}

/// Finds the route of a call, checks the right it needs, and calls its handler.
///
/// # Errors
/// Code 40400 when there is no such route, and the errors of the right and of the handler.
pub(super) async fn dispatch(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let path: Vec<&str> = call.path.iter().map(AsRef::as_ref).collect();
    routes! { call, path:
        GET    ["time"]                                                 open      time::get();
        HEAD   ["time"]                                                 open      time::get();

        POST   ["apps"]                                                 provision apps::create();
        DELETE ["apps", id]                                             own       apps::delete(id);
        GET    ["apps", id, "rules"]                                    own       rules::list(id);
        POST   ["apps", id, "rules"]                                    own       rules::create(id);
        GET    ["apps", id, "rules", rule]                              own       rules::get(id, rule);
        PATCH  ["apps", id, "rules", rule]                              own       rules::update(id, rule);
        DELETE ["apps", id, "rules", rule]                              own       rules::delete(id, rule);
        GET    ["apps", id, "rules", rule, "deadLetters"]               own       rules::dead_letters(id, rule);
        DELETE ["apps", id, "rules", rule, "deadLetters"]               own       rules::clear_dead_letters(id, rule);
        POST   ["keys", key_name, "requestToken"]                       own       tokens::request(key_name);
        POST   ["keys", key_name, "revokeTokens"]                       own       tokens::revoke(key_name);
        POST   ["stats"]                                                own       stats::post();
        GET    ["stats"]                                                client    stats::get();

        GET    ["channels"]                                             client    channels::list();
        GET    ["channels", channel]                                    client    channels::status(channel);

        POST   ["channels", channel, "messages"]                        client    messages::publish(channel);
        GET    ["channels", channel, "messages"]                        client    messages::history(channel);
        GET    ["channels", channel, "history"]                         client    messages::history(channel);
        GET    ["channels", channel, "messages", serial]                client    messages::get(channel, serial);
        PATCH  ["channels", channel, "messages", serial]                client    messages::change(channel, serial);
        GET    ["channels", channel, "messages", serial, "versions"]    client    messages::versions(channel, serial);

        POST   ["channels", channel, "messages", serial, "annotations"] client    annotations::publish(channel, serial);
        GET    ["channels", channel, "messages", serial, "annotations"] client    annotations::list(channel, serial);

        GET    ["channels", channel, "presence"]                        client    presence::members(channel);
        GET    ["channels", channel, "presence", "history"]             client    presence::history(channel);

        POST   ["channels", channel, "object"]                          client    objects::publish(channel);
        POST   ["channels", channel, "objects"]                         client    objects::publish(channel);
        GET    ["channels", channel, "object"]                          client    objects::root(channel);
        GET    ["channels", channel, "object", id]                      client    objects::get(channel, id);

        POST   ["chat", "v4", "rooms", room, "messages"]                room      chat::send(room);
        GET    ["chat", "v4", "rooms", room, "messages"]                room      chat::history(room);
        GET    ["chat", "v4", "rooms", room, "messages", serial]        room      chat::get(room, serial);
        PUT    ["chat", "v4", "rooms", room, "messages", serial]        room      chat::update(room, serial);
        DELETE ["chat", "v4", "rooms", room, "messages", serial]        room      chat::remove(room, serial);
        POST   ["chat", "v4", "rooms", room, "messages", serial, "delete"] room chat::delete(room, serial);
        GET    ["chat", "v4", "rooms", room, "messages", serial, "versions"] room chat::versions(room, serial);
        POST   ["chat", "v4", "rooms", room, "messages", serial, "reactions"] room chat::react(room, serial);
        DELETE ["chat", "v4", "rooms", room, "messages", serial, "reactions"] room chat::unreact(room, serial);
        GET    ["chat", "v4", "rooms", room, "messages", serial, "client-reactions"] room
            chat::client_reactions(room, serial);
        GET    ["chat", "v4", "rooms", room, "occupancy"]               room      chat::occupancy(room);

        POST   ["messages"]                                             client    batch::publish();
        GET    ["presence"]                                             client    batch::presence();

        POST   ["push", "publish"]                                      push      push::publish();
        GET    ["push", "channels"]                                     push      push::channels();
        GET    ["push", "deviceRegistrations"]                          push      push::devices();
        POST   ["push", "deviceRegistrations"]                          push      push::register_device();
        DELETE ["push", "deviceRegistrations"]                          push      push::remove_devices();
        GET    ["push", "deviceRegistrations", id]                      push      push::device(id);
        PUT    ["push", "deviceRegistrations", id]                      push      push::save_device(id);
        PATCH  ["push", "deviceRegistrations", id]                      push      push::change_device(id);
        DELETE ["push", "deviceRegistrations", id]                      push      push::remove_device(id);
        GET    ["push", "channelSubscriptions"]                         push      push::subscriptions();
        POST   ["push", "channelSubscriptions"]                         push      push::subscribe();
        DELETE ["push", "channelSubscriptions"]                         push      push::unsubscribe();
        POST   ["push", "apnsBroadcastChannels"]                        push      push::create_broadcast();
        POST   ["push", "apnsBroadcastChannels", id, "start"]           push      push::start_activity(id);
        POST   ["push", "apnsBroadcastChannels", id, "broadcast"]       push      push::update_activity(id);
        POST   ["push", "apnsBroadcastChannels", id, "end"]             push      push::end_activity(id);
    }
}
