"use strict";

function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.type || "";
}

function table(head, rows) {
  const made = node("table");
  const line = node("tr");
  line.append(...head.map((text) => node("th", text)));
  made.append(line, ...rows.map((cells) => {
    const row = node("tr");
    row.append(...cells.map((text) => node("td", text)));
    return row;
  }));
  return made;
}

function bounds(schema) {
  const named = [["minimum", "≥"], ["maximum", "≤"], ["pattern", ""], ["default", "default"]];
  const of = (part) => named.filter(([key]) => part[key] !== undefined).map(([key, text]) => `${text} ${part[key]}`.trim());
  return [schema, ...(schema.anyOf || [])].flatMap(of).join(", ");
}

function operation(path, method, described) {
  const made = node("div", undefined, "operation");
  const title = node("h3");
  title.append(node("span", method.toUpperCase(), "method"));
  const plain = !path.includes("{");
  const link = node(plain ? "a" : "span", path);
  if (plain) link.href = path;
  title.append(link);
  made.append(title, node("p", described.description || described.summary));
  if (described.parameters) {
    made.append(table(["parameter", "in", "type", "allowed", ""], described.parameters.map((parameter) => [
      parameter.name, parameter.in, typeOf(parameter.schema), bounds(parameter.schema), parameter.description || "",
    ])));
  }
  made.append(table(["status", "body", ""], Object.entries(described.responses).map(([status, response]) => {
    const [content] = Object.entries(response.content || {});
    return [status, content ? typeOf(content[1].schema) || content[0] : "", response.description];
  })));
  return made;
}

function body(name, schema) {
  const made = node("div", undefined, "operation");
  made.append(node("h3", name));
  if (schema.description) made.append(node("p", schema.description));
  made.append(table(["field", "type", ""], Object.entries(schema.properties || {}).map(([field, of]) => [
    field, typeOf(of), of.description || "",
  ])));
  return made;
}

async function load() {
  const described = await (await fetch("/openapi.json")).json();
  const operations = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, of]) => operation(path, method, of)));
  document.getElementById("operations").replaceChildren(...operations);
  const schemas = Object.entries(described.components.schemas);
  document.getElementById("bodies").replaceChildren(...schemas.map(([name, schema]) => body(name, schema)));
}

load();
